"""The table of a job: opened, checked, and chosen from, before anything is sent."""
