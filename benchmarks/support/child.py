"""The process of one benchmark: its rows as lines of JSON into a pipe, all else that it says on stdout and stderr.

    python -m benchmarks.support.child MODULE OPTIONS DESCRIPTOR

OPTIONS is an object with the fields of Options. It ends with status 0 once all rows are sent; an exception is sent as
{"failure": TEXT} before it ends the process. A process of its own lets go of all that a benchmark holds, such as the
lock of the device `local`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator

from harness.host.progress_log import showing_progress

from .row import Options, Row

MOST_WORDS = 1000
PR_SET_PDEATHSIG = 1
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Run the benchmark; what it raises is the process's own traceback, too."""
    module, options, descriptor = sys.argv[1:]
    # As an exception, so that what it has started is ended, and what it has made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    # Where the run is killed, its lock is free: this would go on for hours beside the next one.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.set_inheritable(int(descriptor), False)
    with (
        os.fdopen(int(descriptor), "w", encoding="utf-8") as pipe,
        showing_progress(lambda line: print(line, file=sys.stderr, flush=True)),
    ):
        try:
            rows: Iterator[Row] = importlib.import_module(module).run(Options(**json.loads(options)))
            for row in rows:
                print(json.dumps(row.as_json(), ensure_ascii=False, allow_nan=False), file=pipe, flush=True)
        except Exception as error:
            words = f"{type(error).__name__}: {error}".strip().partition("\n")[0]  # what others said may follow
            print(json.dumps({"failure": words[:MOST_WORDS]}), file=pipe, flush=True)
            raise


if __name__ == "__main__":
    main()
