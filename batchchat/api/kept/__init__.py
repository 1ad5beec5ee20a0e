"""What a job's checkpoint holds, against what its table asks now."""
