"""The commands, one a file: each has a click ``command`` of its own name."""
