"""The checks of a submission: the entry point is `sections`, the command is check.py."""
