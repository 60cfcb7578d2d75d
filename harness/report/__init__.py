"""Reports: what a person reads of the evidence.

report.py          what every format shows: the types
making.py          made once of evidence files
grouping.py        which cells stand together, and which run's counts
figures.py         numbers as every format shows them
terminal.py        the tables, and the reasons below them
summary.py         the lines between the tables and the verdict
pytest_report.py   what pytest itself prints of a test, made printable
"""
