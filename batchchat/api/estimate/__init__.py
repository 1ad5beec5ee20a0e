"""What a job will take, before it is run."""
