"""One HIL run: its options, its plan, what its cells share, and what is done about a mismatch.

options.py        what was asked for            plan.py          the cells that follow from it
selection.py      which tests, in which order   command_line.py  pytest started again where it misread a word
run.py            Run: what the cells share     models.py, devices.py   one of each held at a time
deploying.py      from a model to a process     measuring.py     samples, memory, what takes long
other_build.py    what --against names          comparing.py     a cell beside that build
answers.py        a few right ones, kept for the release
fallback.py       what answers where calls fail both_sides.py    parity and accuracy of both
counter.py        counted instructions          investigation.py mismatches saved and located
outcome.py        what an error says of a cell  damage_watch.py  cells that ran on damaged files
completeness.py   the checks that a run owes    interrupts.py    ending on a signal
files.py          the files that decided it     signing.py       the evidence signed at its end
"""
