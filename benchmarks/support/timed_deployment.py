"""A deployment of examples/digits.py that infers as often as it is told: of the commit whose interpreter runs this.

    python -P timed_deployment.py BACKEND

The first line of stdout is the bundle's manifest. Then, for each line with a number on stdin, it infers as often and
writes the durations in nanoseconds, a JSON list, on a line of stdout. All else is written to stderr.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Prepare, load, warm up, then serve blocks."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for what the harness prints
    from benchmarks.support.deploy import prepare

    prepared = prepare("digits", sys.argv[1])
    print(json.dumps(json.loads(prepared.bundle.manifest)), file=answers, flush=True)
    sets = prepared.sets
    with prepared.deployed() as deployment:
        deployment.warm_up(sets, budget_s=30.0)
        for line in sys.stdin:
            durations = deployment.measure(sets, int(line), budget_s=300.0)[0].tolist()
            print(json.dumps(durations), file=answers, flush=True)


if __name__ == "__main__":
    main()
