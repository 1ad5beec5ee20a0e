"""The way to a job's endpoint: who is asked, with which key, for which model."""
