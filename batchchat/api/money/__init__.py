"""What a job costs: prices, the budgets of a run, the bill after it."""
