"""Terminal output of the commands: progress, and tables of results."""
