"""One file a verb: its options, and the calls that do the work. Nothing heavy is imported before a verb runs."""
