"""The options of a HIL run: pytest's command line and pytest.ini, resolved to paths and names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import iniconfig
import pytest

from ..checks.check import Verdict
from ..decision import WITHIN_PERCENT

DAY_S = 86_400.0
# The options that have a value.
WITH_VALUES = (
    "--device",
    "--model",
    "--backend",
    "--time-limit",
    "--evidence",
    "--wait",
    "--against",
    "--prefer",
    "--within",
    "--sign",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A HIL run's options.

    Attributes:
        device_folders: where device files are looked for, in this order.
        evidence: the folder of the results.
        root: the folder of the project, where pytest.ini is.
        wait_s: for how long to wait for a device that another run holds.
        against: the model file or evidence.json of the build to compare with; None without.
        prefer: the metrics by which the decision eliminates backends; empty for the default ones.
        sign: the key that the evidence is signed with: a file, a URI, or the variable that holds it; None without.
        within_percent: how far from the best bound still counts as good as it.
    """

    models: tuple[Path, ...]
    devices: tuple[str, ...]
    device_folders: tuple[Path, ...]
    backends: tuple[str, ...]
    time_limit_s: float
    evidence: Path
    root: Path
    seed: int
    allow_inconclusive: bool
    wait_s: float = 0.0
    write_baseline: bool = False
    profile: bool = False
    plugins: Path | None = None
    against: Path | None = None
    prefer: tuple[str, ...] = ()
    within_percent: float = WITHIN_PERCENT
    sign: str | None = None

    @property
    def refused(self) -> frozenset[Verdict]:
        """The verdicts with which a run does not succeed."""
        inconclusive = () if self.allow_inconclusive else (Verdict.INCONCLUSIVE,)
        return frozenset((Verdict.FAIL, Verdict.INELIGIBLE, *inconclusive))


def add_options(parser: pytest.Parser) -> None:
    """Declare hilgate's options and settings."""
    group = parser.getgroup("hil", "hardware in the loop (pytest -m hil)")
    group.addoption("--device", action="append", default=[], metavar="NAME", help="devices/NAME.toml; repeatable")
    group.addoption("--model", action="append", default=[], metavar="FILE.py", help="a model file; repeatable")
    group.addoption(
        "--backend", action="append", default=[], metavar="NAME", help="only this backend of the device; repeatable"
    )
    group.addoption(
        "--time-limit", type=float, default=300.0, metavar="SECONDS", help="for measuring one cell (default: 300)"
    )
    group.addoption("--evidence", metavar="DIR", help="where results go (default: build/hil beside pytest.ini)")
    group.addoption("--allow-inconclusive", action="store_true", help="skip inconclusive checks instead of failing")
    group.addoption(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="for a device that another run holds (default: 0)"
    )
    group.addoption(
        "--against",
        metavar="OLD",
        help="another build's model file, or its evidence.json: fail where this one is slower, both on the device now",
    )
    group.addoption(
        "--write-baseline",
        action="store_true",
        help="write baselines/DEVICE.json beside pytest.ini from the instructions counted on emulated devices",
    )
    group.addoption(
        "--prefer",
        action="append",
        default=[],
        metavar="METRIC",
        help="the backend to deploy is the best by this metric, then by the next; repeatable",
    )
    group.addoption(
        "--within",
        type=float,
        default=WITHIN_PERCENT,
        metavar="PERCENT",
        help=f"figures as near to the best as this are as good (default: {WITHIN_PERCENT:g})",
    )
    group.addoption(
        "--sign",
        metavar="KEY",
        help="sign the evidence: a key's file, a URI of securesystemslib's, or the word HILGATE_SIGNING_KEY for the "
        "variable that holds it",
    )
    group.addoption("--profile", action="store_true", help="count instructions by operator, too, on emulated devices")
    parser.addini("hil_device", "devices to use when no --device is given", type="args", default=[])
    parser.addini("hil_model", "model files to use when no --model is given", type="args", default=[])
    parser.addini("hil_prefer", "metrics to prefer when no --prefer is given", type="args", default=[])
    parser.addini("hil_plugins", "a folder of plug-ins, relative to pytest.ini (CONTRIBUTING.md)", default="")


def read_options(config: pytest.Config, shipped_devices: Path) -> Options:
    """Read and check the options.

    Paths on the command line are resolved against the current folder, those in pytest.ini against its own.

    Raises:
        pytest.UsageError: no model or no device is named, or a number is out of range.
    """
    option, here = config.option, config.invocation_params.dir
    project = _project(config)
    root = project.root
    models = [here / name for name in option.model] or [root / name for name in project.models]
    devices = option.device or project.devices
    if not models:
        raise pytest.UsageError("no model: name one with --model=FILE.py, or hil_model in pytest.ini")
    if not devices:
        raise pytest.UsageError("no device: name one with --device NAME (such as local), or hil_device in pytest.ini")
    if not 0 < option.time_limit <= DAY_S:
        raise pytest.UsageError(
            f"--time-limit wants seconds, more than 0 and at most a day; found {option.time_limit:g}"
        )
    if not 0 <= option.wait <= DAY_S:
        raise pytest.UsageError(f"--wait wants seconds, at least 0 and at most a day; found {option.wait:g}")
    seed = getattr(option, "hypothesis_seed", None) or "0"
    if not str(seed).isdigit():
        raise pytest.UsageError(f"a HIL run wants a whole number as --hypothesis-seed; found {seed!r}")
    return Options(
        models=tuple(models),
        devices=tuple(devices),
        device_folders=(root / "devices", shipped_devices),
        backends=tuple(option.backend),
        time_limit_s=option.time_limit,
        evidence=here / option.evidence if option.evidence else root / "build" / "hil",
        root=root,
        seed=int(seed),
        allow_inconclusive=option.allow_inconclusive,
        wait_s=option.wait,
        write_baseline=option.write_baseline,
        profile=option.profile,
        plugins=root / project.plugins if project.plugins else None,
        against=here / option.against if option.against is not None else None,
        prefer=tuple(option.prefer or project.prefer),
        within_percent=option.within,
        sign=option.sign,
    )


@dataclass(frozen=True, kw_only=True)
class _Project:
    """The project's folder, and its settings."""

    root: Path
    models: list[str]
    devices: list[str]
    prefer: list[str]
    plugins: str


def _project(config: pytest.Config) -> _Project:
    """Find the project: its folder, and its settings.

    pytest looks for its configuration where the tests are; where these are named by their folder and lie outside the
    project, as in a clone of hilgate, that is none of the project's. Then the one in the current folder, or above it,
    is read here.
    """
    here = config.invocation_params.dir
    lists = ("hil_model", "hil_device", "hil_prefer")
    named = config.option.inifilename is not None
    if config.inipath is not None and (named or here.is_relative_to(config.rootpath)):
        models, devices, prefer = (config.getini(name) for name in lists)
        plugins = config.getini("hil_plugins")
        return _Project(root=config.rootpath, models=models, devices=devices, prefer=prefer, plugins=plugins)
    for folder in (here, *here.parents):
        if (folder / "pytest.ini").is_file():
            ini = iniconfig.IniConfig(folder / "pytest.ini")
            models, devices, prefer = ((ini.get("pytest", name, "") or "").split() for name in lists)
            plugins = (ini.get("pytest", "hil_plugins", "") or "").strip()
            return _Project(root=folder, models=models, devices=devices, prefer=prefer, plugins=plugins)
    return _Project(root=here, models=[], devices=[], prefer=[], plugins="")
