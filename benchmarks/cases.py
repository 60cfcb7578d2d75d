"""The cases of tests/cases in one run on `local`: how many get the verdict that is right, and the cause named."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.host.shipped import SUITE
from tests.cases import NATIVE, PARITY, Case, copied, options, told

from .support.row import Aim, Options, Row

NEEDS = ("runners",)

NONE = Aim(0.0)


def run(options: Options) -> Iterator[Row]:
    """Parity alone; with --quick ONNX Runtime alone."""
    backends = NATIVE[:1] if options.quick else NATIVE
    with tempfile.TemporaryDirectory() as name:
        wrong = _wrong(Path(name), backends)
    count = sum(backend in backends for case in PARITY for backend in case.verdicts)
    against = f"{count} cells of {len(PARITY)} models, made from bug reports, whose right verdict is known by hand"
    yield Row("wrong verdicts, or causes that are not named", len(wrong), "", against, NONE, {"wrong": wrong})


def _wrong(folder: Path, backends: tuple[str, ...]) -> list[str]:
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    models = options(copied(folder / "models"), PARITY)
    named = [word for backend in backends for word in ("--backend", backend)]
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-m", "hil", str(SUITE), "-k", "parity", *models]
    subprocess.run(
        [*command, *named, "--device", "local"], cwd=folder, check=False, stdin=subprocess.DEVNULL, capture_output=True
    )
    evidence = json.loads((folder / "build/hil/evidence.json").read_text(encoding="utf-8"))
    cells = {(cell["model"], cell["backend"]): cell for cell in evidence["cells"]}
    return [
        f"{case.name}-{backend}"
        for case in PARITY
        for backend, verdict in case.verdicts.items()
        if backend in backends and not _is_right(case, verdict, cells[case.name, backend])
    ]


def _is_right(case: Case, verdict: str, cell: dict[str, object]) -> bool:
    text = told(cell)
    named = all(one in text for one in case.says) and not any(one in text for one in case.silent)
    return cell["verdict"] == verdict and named
