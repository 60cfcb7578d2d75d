"""Files as users had them on 2026-11-27, which have to go on working unchanged: never adapt these, adapt hilgate.

model.py       examples/digits.py of that day; its weights and samples lie in examples/
devices/       the shipped device files, and one with every key that there was
job.yml        the job of docs/ci.md
evidence.json  what a run left
"""
