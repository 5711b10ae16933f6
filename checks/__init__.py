"""The checks of a submission: `sections` is the door; check.py is the command."""
