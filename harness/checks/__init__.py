"""Judging: metrics and their limits, findings, and the verdict that follows from them.

limits      metrics, and the limits that model and device files set on them
finding     what was measured of one metric, before it is judged
quantiles   confidence bounds that hold whatever the distribution, for a fixed number of samples
sequential  a test of a rate that may be looked at at any time, for samples that go on until it decides
blocks      durations cut into blocks of time, which that test counts
paired      the t interval of ratios of pairs, for a number of pairs that was fixed beforehand
sides       one finding of two sides, of which the worse counts
check       a finding judged against its limits: PASS, FAIL, INCONCLUSIVE, MEASURED or NOT_APPLICABLE

Nothing here knows how anything was measured: harness.measure makes findings, this room judges them.
"""
