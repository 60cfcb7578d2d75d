"""The fault matrix: whole runs on a board that something happens to, at random moments (issue 17).

For every kind: the run ends in bounded time, in words, with a verdict that an undisturbed run would give or with less,
never with more; it leaves nothing over; and the next run is as if nothing had been.

    stand    a board, a project, its runs, and what they leave over
    kinds    what happens
    trial    one run that it happens to, judged
"""
