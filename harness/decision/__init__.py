"""The decision: which backend to deploy, why not the others, and what would change that.

A pure function of evidence: it reads the cells' checks and nothing else, so whoever has the evidence can make it again.
``elimination`` is the rule, ``standing`` says what puts a cell out, ``changes`` runs the rule on changed evidence.
"""

from .consistency import CELL, cell_of_run, contradictions
from .deciding import WITHIN_PERCENT, decide, decide_all, find_taken
from .grouping import PREFER

__all__ = ["CELL", "PREFER", "WITHIN_PERCENT", "cell_of_run", "contradictions", "decide", "decide_all", "find_taken"]
