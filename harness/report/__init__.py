"""Reports: what a person reads of the evidence.

report.py          what every format shows: the types
making.py          made once of evidence files
grouping.py        which cells stand together, and which run's counts
figures.py         numbers as every format shows them
reasons.py         what stands below a table, in every format
terminal.py        the table on a terminal, and the reasons below it
summary.py         the lines between the tables and the verdict
pytest_report.py   what pytest itself prints of a test, made printable
"""
