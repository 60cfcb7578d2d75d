"""The pytest plugin: options, parametrization, header, evidence, summary, exit status.

A HIL run is one whose ``-m`` expression asks for ``hil``. In any other run this plugin does nothing but offer its
fixtures, and let tests import the project's plug-ins.
"""

from __future__ import annotations

import contextlib
import logging
import pkgutil
from collections.abc import Generator, Sequence
from importlib import import_module
from itertools import combinations
from typing import Any

import pytest
from _pytest.mark.expression import Expression

from .run import interrupts  # first: it watches while the others are loaded

# isort: split
from .bundle.lock import current_lock, use_project
from .cell import Cell
from .checks.check import Verdict
from .errors import (
    UNDECIDED,
    DeploymentError,
    DeviceError,
    EmulatorError,
    HilgateError,
    LinkError,
    LinkLost,
    StorageError,
)
from .evidence.evidence import FILE, JUNIT, Evidence
from .host.bounded import asked_limit_bytes
from .host.cache import cache_folder, forbid_writing_by_others, storage_errors
from .host.plugins import use_plugins
from .host.progress_log import showing_progress
from .host.shipped import DEVICES, FIXTURES, PACKAGE, SUITE
from .host.shown_path import shown_path
from .printable import printable, printable_lines
from .report.pytest_report import InternalErrors, make_printable
from .report.terminal import STYLES, remark_on_local, render, unjudged
from .run.command_line import restart_if_misread
from .run.options import WITH_VALUES, add_options, read_options
from .run.plan import check_baselines, close_processes, plan_cells
from .run.run import Run, add_unsaid

pytest_plugins = [f"{FIXTURES}.{module.name}" for module in pkgutil.iter_modules(import_module(FIXTURES).__path__)]

RUN = pytest.StashKey[Run]()
NARROWED = pytest.StashKey[bool]()
BASELINE = pytest.StashKey[list[str]]()
PLACES = {"test_parity.py": -1, "test_instructions.py": 1}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """The options of the design. The values of those that pytest has misread by now it is to read again."""
    add_options(parser)
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)
    restart_if_misread(parser, config, WITH_VALUES)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The plugins are loaded: from here on pytest knows what to do about Ctrl-C."""
    interrupts.end_watch()


def _use_plugins(config: pytest.Config) -> None:
    """Let tests import the project's plug-ins in a run that is none of HIL, too: pytest collects those of metrics."""
    named = config.getini("hil_plugins")
    try:
        config.add_cleanup(use_plugins(config.rootpath / named if named else None))
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)  # before junitxml reads its option
def pytest_configure(config: pytest.Config) -> None:
    """Plan the run, so that whatever is wrong with it is said before anything is started."""
    config.addinivalue_line("markers", "hil: runs on a device (pytest -m hil --device NAME)")
    if not asks_for_hil(config.option.markexpr) or config.option.help:
        _use_plugins(config)
        return
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("a HIL run does not take -n: two workers would measure each other; run one per device")
    config.pluginmanager.register(interrupts.Interrupts(config, lambda: _abandon(config)), "hilgate-interrupts")
    narrowing = [getattr(config.option, name, None) for name in ("keyword", "deselect", "lf")]
    config.stash[NARROWED] = any(narrowing) or any("::" in word or word.endswith(".py") for word in config.args)
    options = read_options(config, DEVICES)
    if config.args_source is not pytest.Config.ArgsSource.ARGS and options.root == PACKAGE.parent:
        config.args = [str(SUITE)]  # in a clone: not the project's own tests
    config.add_cleanup(forbid_writing_by_others())
    try:
        config.add_cleanup(use_plugins(options.plugins))
        asked_limit_bytes()  # a wrong one would be met only after the first export
        cache_folder()  # one that is not ours alone, too
        use_project(options.root)
        current_lock()  # a damaged one would be met only at the first wheel
        cells = plan_cells(options)
        config.add_cleanup(lambda: close_processes(cell.file for cell in cells))  # also where the run never begins
        check_baselines(options, cells)
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[RUN] = Run(options, cells, Evidence(options.evidence, cells, options.root))
    _show_progress(config, config.stash[RUN])
    config.stash[RUN].evidence.asked = {
        "time_limit_s": options.time_limit_s,
        "seed": options.seed,
        "selected": config.option.keyword if config.stash[NARROWED] else None,
        "narrowed": config.stash[NARROWED],
    }
    config.pluginmanager.register(InternalErrors())
    if not config.option.collectonly and not getattr(config.option, "xmlpath", True):
        config.option.xmlpath = str(options.evidence / JUNIT)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have the folder of the evidence to ourselves; who is refused here has not written a junit.xml there either."""
    run = session.config.stash.get(RUN, None)
    if run is None or session.config.option.collectonly:
        return
    run.memory = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    try:
        run.evidence.claim()
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error
    session.config.add_cleanup(run.evidence.release)


def asks_for_hil(expression: str) -> bool:
    """Whether a ``-m`` expression selects tests for being marked hil: "hil" and "hil and x" do, "not hil" does not."""
    try:
        compiled = Expression.compile(expression)
    except SyntaxError:
        return False  # pytest will say so itself
    others: set[str] = set()

    def evaluate(true: set[str]) -> bool:
        def known(name: str, /, **_: object) -> bool:
            others.add(name)
            return name in true

        return compiled.evaluate(known)

    for _ in range(2):  # the first time finds the names
        choices = [set(chosen) for size in range(len(others) + 1) for chosen in combinations(sorted(others), size)]
        if any(evaluate(chosen | {"hil"}) and not evaluate(chosen - {"hil"}) for chosen in choices):
            return True
    return False


def _show_progress(config: pytest.Config, run: Run) -> None:
    """Show progress lines as they are logged, above the bars or between pytest's own lines."""

    def show(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if _is_shown_by_pytest(config) or run.progress.say(line) or reporter is None or capture is None:
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(printable_lines(line, indent="  "))

    shown = contextlib.ExitStack()
    shown.enter_context(showing_progress(show))
    config.add_cleanup(shown.close)


def _is_shown_by_pytest(config: pytest.Config) -> bool:
    """Whether pytest itself prints logged lines of level INFO, because the user asked for it (``--log-cli-level``)."""
    live = config.pluginmanager.get_plugin("logging-plugin")
    if live is None or (config.option.log_cli_level is None and not config.getini("log_cli")):
        return False
    return (live.log_cli_level or logging.NOTSET) <= logging.INFO


def pytest_report_header(config: pytest.Config) -> str | None:
    """What is going to be run on what."""
    run = config.stash.get(RUN, None)
    if run is None:
        return None
    return printable("hilgate: " + ", ".join(cell.id for cell in run.cells))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for a cell runs once in each."""
    if "cell" in metafunc.fixturenames:
        run = metafunc.config.stash.get(RUN, None)
        if run is not None and _is_ours(metafunc):
            ids = [cell.id for cell in run.cells]
            metafunc.parametrize("cell", run.cells, ids=ids, indirect=True, scope="session")


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """Whether a test's ``cell`` is our fixture: a user's suite may have one of that name, or parametrize it."""
    definitions = metafunc._arg2fixturedefs.get("cell", ())
    return bool(definitions) and definitions[-1].func.__module__ == f"{FIXTURES}.cell"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In each cell the answers come first: how fast a wrong one comes is not worth waiting for.

    Instructions come last: they are counted beside the others.
    """
    cells = [cell.id if (cell := _cell(item)) else "" for item in items]
    order = {name: index for index, name in enumerate(dict.fromkeys(cells))}
    places = {id(item): (order[name], PLACES.get(item.path.name, 0)) for item, name in zip(items, cells, strict=True)}
    if any(cells):
        items.sort(key=lambda item: places[id(item)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Begin the evidence: from here on something may have been measured."""
    run = session.config.stash.get(RUN, None)
    if run is None or session.config.option.collectonly:
        return
    for item in session.items:
        if (cell := _cell(item)) is not None:
            run.evidence[cell].selected = True
            if "record_check" in getattr(item, "fixturenames", ()):
                run.evidence[cell].pending.add(item.nodeid)
            if "counted_instructions" in getattr(item, "fixturenames", ()):
                run.counter.wanted.add(cell.id)
    try:
        run.evidence.begin()
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Do not ask again for what cannot be had: a first test has said so, and each would wait for it anew."""
    run, cell = item.config.stash.get(RUN, None), _cell(item)
    if run is None or cell is None:
        return
    if (error := run.unavailable.get(cell.device.name)) is not None:
        pytest.skip(printable(f"nothing is measured on {cell.device.name}: {error.what}"))
    if (error := run.evidence[cell].not_built) is not None:
        pytest.skip(printable(f"{cell.backend.name} is not built here: {error.what}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever is raised beside a check's own outcome is why the cell cannot run: it goes into the evidence."""
    report = yield
    run = item.config.stash.get(RUN, None)
    if run is not None:
        _explain(report, item, call, run)
        make_printable(report)
    return report


def _explain(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], run: Run) -> None:
    cell = _cell(item)
    if cell is None or call.excinfo is None:
        return
    error = call.excinfo.value
    judged = item.nodeid not in run.evidence[cell].pending and "record_check" in getattr(item, "fixturenames", ())
    if isinstance(error, (pytest.skip.Exception, KeyboardInterrupt, pytest.exit.Exception)) or (
        isinstance(error, pytest.fail.Exception) and judged
    ):
        return
    if isinstance(error, HilgateError) and _is_of_the_device(error, run, cell):
        report.longrepr = str(error)
        with contextlib.suppress(StorageError):
            run.give_up(cell.device, error)
        return
    if isinstance(error, DeploymentError):
        error = run.stored.explained(cell, error)
    if isinstance(error, UNDECIDED):  # says nothing of the model: what was being checked stays open
        report.longrepr = _told(error, run.evidence[cell].interruptions)
        noted = error.found in run.evidence[cell].notes
        with contextlib.suppress(StorageError):
            run.evidence.add_interruption(cell, error.what if noted else str(error))
        return
    run.evidence[cell].pending.discard(item.nodeid)
    if isinstance(error, HilgateError):
        report.longrepr = _told(error, run.evidence[cell].errors)
    text = str(error) if isinstance(error, HilgateError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(StorageError):  # said at the end, and below
        run.evidence.add_error(cell, text)
    if run.evidence.unwritable:
        item.session.shouldstop = "the evidence cannot be written"


def _told(error: HilgateError, before: Sequence[str]) -> str:
    """An error as pytest shows it: whole the first time, in a line where the cell has said so before."""
    notes = "".join("\n" + printable_lines(note, indent="  ") for note in getattr(error, "__notes__", []))
    return f"{printable(error.what)} (as above)" if str(error) in before else f"{error}{notes}"


def _is_of_the_device(error: HilgateError, run: Run, cell: Cell) -> bool:
    """Whether an error says that the device cannot be used: in use, not there, or another one; nothing of the model."""
    kinds = (LinkError, DeviceError, EmulatorError)
    known = run.unavailable.get(cell.device.name) is error
    return known or (isinstance(error, kinds) and not isinstance(error, LinkLost))


def _cell(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("cell") if callspec else None
    return cell if isinstance(cell, Cell) else None


@pytest.hookimpl(wrapper=True)  # around junitxml, which writes its file here
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """End the evidence; a requested cell in which nothing was measured is an error."""
    run = session.config.stash.get(RUN, None)
    if run is None:
        yield
        return
    try:
        with storage_errors(run.evidence.folder):
            yield
        if run.evidence.begun:
            _finish(run, session)
    except StorageError as error:
        run.evidence.unwritable = str(error)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    finally:
        run.close()


def _finish(run: Run, session: pytest.Session) -> None:
    narrowed = session.config.stash[NARROWED]
    counted = [cell for cell in run.cells if run.evidence[cell].selected] if narrowed else list(run.cells)
    run.settle()
    stopped = session.exitstatus == pytest.ExitCode.INTERRUPTED or bool(session.shouldstop or session.shouldfail)
    add_unsaid(counted, run.evidence, narrowed=narrowed, stopped=stopped)
    seconds = {"device_s": run.device_time.seconds, "harness_s": run.harness_seconds(), "export_s": run.export_s}
    run.evidence.harness = {name: round(value, 2) for name, value in seconds.items()}
    run.evidence.finish(keep=counted)
    if run.options.write_baseline:
        _write_baseline(run, session)
    refused = {Verdict.FAIL} if run.options.allow_inconclusive else {Verdict.FAIL, Verdict.INCONCLUSIVE}
    # Whatever made pytest content (an xfail, a skip, a test that was never reached): the evidence decides.
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if counted and passed and (run.evidence.verdict in refused or run.unavailable):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _write_baseline(run: Run, session: pytest.Session) -> None:
    try:
        session.config.stash[BASELINE] = run.counter.write_baseline()
        kept = run.counter.anything_kept
    except HilgateError as error:
        session.config.stash[BASELINE], kept = [str(error)], False
    if not kept:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _abandon(config: pytest.Config) -> None:
    if (run := config.stash.get(RUN, None)) is not None:
        run.abandon()


@pytest.hookimpl(trylast=True)  # the verdict is the last thing that is read
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table, the verdict, and where the evidence is."""
    run = config.stash.get(RUN, None)
    if run is None or not run.evidence.begun:
        return
    writer = config.get_terminal_writer()

    def write_line(line: str, **markup: bool) -> None:
        terminalreporter.write_line(printable_lines(line, indent="  "), **markup)

    terminalreporter.section("hilgate")
    terminalreporter.write(render(list(run.evidence.records.values()), width=writer.fullwidth, color=writer.hasmarkup))
    seconds = run.evidence.harness or dict.fromkeys(("device_s", "harness_s", "export_s"), 0.0)
    share = f"{seconds['harness_s'] / seconds['device_s']:.2f} ×" if seconds["device_s"] > 1 else "from pytest's start"
    exports = f", {seconds['export_s']:.1f} s of it exports" if seconds["export_s"] else ""
    write_line(
        f"loading and inferring on devices {seconds['device_s']:.1f} s; the harness added {seconds['harness_s']:.1f} s "
        f"({share}{exports})"
    )
    where = run.evidence.unwritable or shown_path(run.evidence.folder / FILE)
    write_line(f"evidence: {where}")
    for line in config.stash.get(BASELINE, []):
        write_line(line)
    if remark := remark_on_local(list(run.evidence.records.values()), DEVICES):
        write_line(remark)
    verdict = run.evidence.verdict
    if left := unjudged(run.evidence.records.values()):
        write_line(f"limits that were not judged: {left}")
    write_line(f"verdict: {verdict}", **{_color(verdict): True, "bold": True})


def _color(verdict: Verdict) -> str:
    return STYLES[verdict].split()[-1].replace("dim", "light")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """pytest-benchmark compares by machine: for samples taken on a device, that is the device."""
    run = config.stash.get(RUN, None)
    if run is not None:
        machine_info["hil_devices"] = sorted({cell.device.name for cell in run.cells})
