"""Where hilgate's own fixtures, suite and devices are: in a wheel inside the package, in a clone beside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
# By the folder in our own package: PyPI also has a package called fixtures, which is not ours.
INSTALLED = (PACKAGE / "fixtures").is_dir()
FIXTURES = "harness.fixtures" if INSTALLED else "fixtures"
SUITE = PACKAGE / "suite" if INSTALLED else PACKAGE.parent / "tests" / "hil"
DEVICES = PACKAGE / "devices" if INSTALLED else PACKAGE.parent / "devices"
