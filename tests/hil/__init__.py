"""The product's HIL suite: one file for each kind of metric, one function for each metric."""
