"""What is judged: a metric, its limits, what was found of it, the verdict.

limits     metrics, and the limits that model and device files set on them
quantiles  bounds that hold whatever the distribution
finding    what a measurement has found of one metric
check      a finding that was judged: PASS, FAIL, INCONCLUSIVE, MEASURED or NOT_APPLICABLE
"""
