"""Evidence: evidence.json as types, its one writer and its one reader, and the folder of a run.

schema.py        what is in the file: the types that writer and reader share
entry.py         what these types have in common
decision_entry.py   the decision's types
misfit.py        the first value that a type does not take
parts.py         parts of it, made of what other rooms return
cell_record.py   what is known of one cell so far, and its verdict
writer.py        the whole run's evidence, written after every check
folder.py        the folder: its lock, its raw samples, what an earlier run left
commit.py        the commit of the user's repository
reading.py       the reader, which takes nothing in the file for granted
samples.py       the reader of the raw samples that a check names
"""
