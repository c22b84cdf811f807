"""What verbs show: progress on the terminal, and tables of results."""
