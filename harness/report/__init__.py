"""Reports: what a person reads of the evidence."""
