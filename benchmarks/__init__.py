"""Speed and size, as ratios taken in one run against a named alternative: `make bench`."""
