"""The decision: which backend to deploy, why not the others, and what would change that.

A pure function of evidence: it reads the cells' checks and nothing else, so whoever has the evidence can make it again.
"""
