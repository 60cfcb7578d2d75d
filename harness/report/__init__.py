"""Reports: what a person reads of the evidence.

report.py          what every format shows, made once of evidence files
terminal.py        the tables, and the reasons below them
summary.py         the lines between the tables and the verdict
pytest_report.py   what pytest itself prints of a test, made printable
"""
