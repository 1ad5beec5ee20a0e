"""Looking at a job without sending anything."""
