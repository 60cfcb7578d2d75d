"""One HIL run: its options, its plan, what its cells share, and what is done about a mismatch."""
