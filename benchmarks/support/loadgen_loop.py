"""MLPerf LoadGen's SingleStream around ONNX Runtime, as a submitter would write it.

    python -m benchmarks.support.loadgen_loop ARTIFACT INPUTS.npz

INPUTS.npz as bare_loop.py takes it. For each line with a number on stdin LoadGen issues as many queries, and the
quantiles QUANTILES of its summary, in nanoseconds, a JSON list, are written on a line of stdout. mlcommons-loadgen is
no dependency of hilgate's: without it this program cannot start.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlperf_loadgen as loadgen
import onnxruntime

from .bare_loop import read_sets

QUANTILES = (0.5, 0.99)


class SingleStream:
    """A system under test whose queries are answered in the thread that issues them: the next when one is done."""

    def __init__(self, artifact: str, sets: list[dict[str, Any]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        self.sets = sets
        self.system = loadgen.ConstructSUT(self.issue, lambda: None)
        self.library = loadgen.ConstructQSL(len(sets), len(sets), lambda _: None, lambda _: None)

    def issue(self, queries: Any) -> None:
        """Infer once for each query, and tell LoadGen, whose clock has been running since it issued it."""
        for query in queries:
            self.session.run(None, self.sets[query.index])
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    def quantiles(self, count: int) -> list[int]:
        """Run a test of so many queries, and read its summary. A trace has each latency, and lengthens the slowest."""
        settings = loadgen.TestSettings()
        settings.scenario = loadgen.TestScenario.SingleStream
        settings.mode = loadgen.TestMode.PerformanceOnly
        settings.min_query_count = settings.max_query_count = count
        settings.min_duration_ms = 0
        with tempfile.TemporaryDirectory() as folder:
            logs = loadgen.LogSettings()
            logs.log_output.outdir = folder
            logs.enable_trace = False
            loadgen.StartTestWithLogSettings(self.system, self.library, settings, logs)
            summary = Path(folder, "mlperf_log_summary.txt").read_text(encoding="utf-8")
        return [_read(summary, rf"{100 * quantile:.2f} percentile latency \(ns\) *: (\d+)") for quantile in QUANTILES]


def _read(summary: str, pattern: str) -> int:
    found = re.search(pattern, summary)
    if found is None:
        raise AssertionError(f"LoadGen's summary was to have {pattern!r}; it is\n{summary}")
    return int(found[1])


def main() -> None:
    """Load, then serve blocks."""
    artifact, inputs = sys.argv[1:]
    stream = SingleStream(artifact, read_sets(inputs))
    for line in sys.stdin:
        print(json.dumps(stream.quantiles(int(line))), flush=True)


if __name__ == "__main__":
    main()
