"""Parity: does a backend give the model's answers? Judged against a float64 run of the eager model; see docs/parity.md.

    search      looks for the input on which a deployment is furthest from the reference: its steps
    search_state, pace, statefulness, search_finding: what it has seen, how long it goes on, whether the artifact keeps
                state, and what came of it
    judging     asks a deployment and judges its answers, one recipe at a time; tally, what became of them
    budget      the time that a search has spent
    claims      what the artifact declares of its shapes, checked against every inference
    localize/   where in the graph a mismatch begins, and who is at fault
    replay/     a folder that shows a mismatch again without hilgate
    rule/       what an output should be, and how far an answer is from it
    rounding/   how far correct float32 programs may differ on one input
    trials/     the inputs that are tried: recipes, drawn, shrunk and remembered

The rooms import downwards: localize, replay, rule, then rounding and trials, which know none of the others.
"""

from __future__ import annotations

from ..checks.limits import Metric

PARITY = Metric("parity", "", "the worst error, as a multiple of what float32 arithmetic itself is off", counts="tried")
