"""The pytest plugin: options, parametrization, header, evidence, summary, exit status.

A HIL run is one whose ``-m`` expression asks for ``hil``. In any other run this plugin does nothing but offer its
fixtures, and let tests import the project's plug-ins.
"""

from __future__ import annotations

import contextlib
import logging
import pkgutil
from collections.abc import Generator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from .run import interrupts  # first: it watches while the others are loaded

# isort: split
from .bundle.lock_file import current_lock, use_project
from .checks.check import Verdict
from .errors import (
    HilgateError,
    StorageError,
)
from .evidence.commit import find_commit
from .evidence.folder import JUNIT
from .evidence.schema import Asked, HarnessTime
from .evidence.writer import Evidence
from .host.bounded import asked_limit_bytes
from .host.cache import cache_folder, forbid_writing_by_others, storage_errors
from .host.plugins import use_plugins
from .host.progress import ProgressBars
from .host.progress_log import ROOT as PROGRESS
from .host.progress_log import showing_progress
from .host.shipped import DEVICES, FIXTURES, PACKAGE, SUITE
from .printable import printable, printable_lines
from .report.pytest_report import InternalErrors, make_printable
from .report.summary import color_of, summary_lines
from .report.terminal import render
from .run.command_line import restart_if_misread
from .run.completeness import record_missing_checks
from .run.ending import Ending, conclude, look_at
from .run.files import describe_files
from .run.options import WITH_VALUES, add_options, read_options
from .run.other_build import read_other_build
from .run.outcome import record_error
from .run.plan import check_baselines, close_processes, plan_cells, with_preferences
from .run.run import Run
from .run.selection import MARKER, asks_for_hil, cell_of, sort_tests
from .run.signing import hide_key, open_signer, sign_evidence

pytest_plugins = [f"{FIXTURES}.{module.name}" for module in pkgutil.iter_modules(import_module(FIXTURES).__path__)]

RUN = pytest.StashKey[Run]()
NARROWED = pytest.StashKey[bool]()
BASELINE = pytest.StashKey[list[str]]()
ENDING = pytest.StashKey[Ending]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add hilgate's options. Start pytest again where it has misread the value of one (see run.command_line)."""
    add_options(parser)
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)
    restart_if_misread(parser, config, WITH_VALUES)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give Ctrl-C back to pytest, which has loaded its plugins by now and knows what to do about it."""
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
    """Plan the run, so that whatever is wrong with it is reported before anything is started."""
    config.addinivalue_line("markers", MARKER)
    if not asks_for_hil(config.option.markexpr) or config.option.help:
        _use_plugins(config)
        return
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("a HIL run does not take -n: two workers would measure each other; run one per device")
    watching = interrupts.Interrupts(config, lambda: _abandon(config))
    watching.start()
    config.pluginmanager.register(watching, "hilgate-interrupts")
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
        options = with_preferences(options)
        signer = None if config.option.collectonly else open_signer(options.sign)
        hide_key()  # before the user's code runs in processes of its own
        cells = plan_cells(options)
        config.add_cleanup(lambda: close_processes(cell.file for cell in cells))  # runs even if the run never starts
        check_baselines(options, cells)
        files = describe_files(options, cells)
        other = read_other_build(options, cells)
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error
    evidence = Evidence(options.evidence, cells, find_commit(options.root))
    evidence.asked = Asked(
        time_limit_s=options.time_limit_s,
        seed=options.seed,
        selected=config.option.keyword if config.stash[NARROWED] else None,
        narrowed=config.stash[NARROWED],
    )
    evidence.files = files
    progress = ProgressBars.open()
    config.stash[RUN] = Run(
        options=options, cells=cells, evidence=evidence, progress=progress, other=other, signer=signer
    )
    _show_progress(config, config.stash[RUN])
    config.pluginmanager.register(InternalErrors())
    if not config.option.collectonly and not getattr(config.option, "xmlpath", True):
        config.option.xmlpath = str(options.evidence / JUNIT)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Claim the evidence's folder, before anything is written there: pytest's own junit.xml, too."""
    run = session.config.stash.get(RUN, None)
    if run is None or session.config.option.collectonly:
        return
    run.models.memory = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    try:
        run.evidence.claim()
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error
    session.config.add_cleanup(run.evidence.release)
    _leave_out_progress(session.config)


def _show_progress(config: pytest.Config, run: Run) -> None:
    """Show progress lines as they are logged, above the bars or between pytest's own lines."""

    def show(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if run.progress.say(line) or reporter is None or capture is None:
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(printable_lines(line, indent="  "))

    shown = contextlib.ExitStack()
    shown.enter_context(showing_progress(show, lambda record: _is_shown_by_pytest(config, record)))
    config.add_cleanup(shown.close)


def _is_shown_by_pytest(config: pytest.Config, record: logging.LogRecord) -> bool:
    """Tell whether pytest itself prints a logged line at once, as with ``--log-cli-level``."""
    live = config.pluginmanager.get_plugin("logging-plugin")
    if live is None or (config.option.log_cli_level is None and not config.getini("log_cli")):
        return False
    return record.levelno >= (live.log_cli_level or logging.NOTSET)


def _leave_out_progress(config: pytest.Config) -> None:
    """Have pytest leave progress lines out where it repeats what a failed test has logged: they were shown."""
    if (repeating := config.pluginmanager.get_plugin("logging-plugin")) is not None:
        repeating.report_handler.addFilter(lambda record: not record.name.startswith(f"{PROGRESS}."))


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the cells of the run in pytest's header."""
    run = config.stash.get(RUN, None)
    if run is None:
        return None
    return printable("hilgate: " + ", ".join(cell.id for cell in run.cells))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for a cell once in each cell."""
    if "cell" in metafunc.fixturenames:
        run = metafunc.config.stash.get(RUN, None)
        if run is not None and _is_ours(metafunc):
            ids = [cell.id for cell in run.cells]
            metafunc.parametrize("cell", run.cells, ids=ids, indirect=True, scope="session")


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """Tell whether a test's ``cell`` is our fixture: a user's suite may have its own, or parametrize it."""
    definitions = metafunc._arg2fixturedefs.get("cell", ())
    return bool(definitions) and definitions[-1].func.__module__ == f"{FIXTURES}.cell"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by cell and by the order that their mark says, ``pytest.mark.hil(order=…)``."""
    sort_tests(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Begin the evidence, for from here on something may be measured, and note which tests are to come."""
    run = session.config.stash.get(RUN, None)
    if run is None or session.config.option.collectonly:
        return
    for item in session.items:
        if (cell := cell_of(item)) is not None:
            run.evidence[cell].selected = True
            if cell.is_left_out:
                continue
            if "record_check" in getattr(item, "fixturenames", ()):
                run.evidence[cell].pending.add(item.nodeid)
            if "counted_instructions" in getattr(item, "fixturenames", ()):
                run.counter.requested.add(cell.id)
    try:
        run.evidence.begin()
    except HilgateError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Leave out, without a report, the tests of a device that cannot be used: the first one has said why.

    They count as deselected. With --verbose they are reported, each as skipped with the reason.
    """
    run, cell = item.config.stash.get(RUN, None), cell_of(item)
    if run is None or cell is None or item.config.get_verbosity() > 0:
        return None
    if cell.device.name not in run.devices.unavailable:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):  # skipped in its setup
        if report.failed:  # it ends what earlier tests have set up, which may raise
            item.ihook.pytest_runtest_logreport(report=report)
    item.config.hook.pytest_deselected(items=[item])
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose device or backend cannot be had: the first one has said so, and each would wait anew."""
    run, cell = item.config.stash.get(RUN, None), cell_of(item)
    if run is None or cell is None:
        return
    if (error := run.devices.unavailable.get(cell.device.name)) is not None:
        pytest.skip(printable(f"nothing is measured on {cell.device.name}: {error.what}"))
    if (error := run.evidence[cell].not_built) is not None:
        pytest.skip(printable(f"{cell.backend.name} is not built here: {error.what}"))
    if cell.is_left_out:
        pytest.skip(printable(f"{Verdict.INELIGIBLE}: {cell.forbidden}; --backend {cell.backend.name} measures it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record in the evidence what a test raises beside a check's own outcome: why its cell cannot run."""
    report = yield
    run, cell = item.config.stash.get(RUN, None), cell_of(item)
    if run is not None:
        if cell is not None and call.excinfo is not None:
            record_error(report, item, call.excinfo.value, run, cell)
        make_printable(report)
    return report


@pytest.hookimpl(wrapper=True)  # around junitxml, which writes its file here
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """End the evidence, in which a requested cell without any measurement is an error, and let go of the devices."""
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
    run.devices.settle()
    run.close()  # now: it takes seconds (a board is switched off), in which the run must not seem to have passed
    stopped = session.exitstatus == pytest.ExitCode.INTERRUPTED or bool(session.shouldstop or session.shouldfail)
    record_missing_checks(counted, run.evidence, narrowed=narrowed, stopped=stopped)
    run.evidence.harness = HarnessTime(
        device_s=round(run.device_time.seconds, 2),
        harness_s=round(run.harness_seconds(), 2),
        export_s=round(run.export_s, 2),
    )
    run.evidence.finish(keep=counted)
    is_interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
    ending = conclude(run, is_interrupted=is_interrupted)
    if run.options.write_baseline:
        _write_baseline(run, session)
    signed = _sign(run, session)  # last: nothing is written to the evidence after it
    session.config.stash[ENDING] = replace(ending, remarks=(*ending.remarks, *signed))
    # Whatever made pytest content (an xfail, a skip, a test that was never reached): the evidence decides.
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if counted and passed and (run.evidence.verdict in run.options.refused or run.devices.unavailable):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _sign(run: Run, session: pytest.Session) -> list[str]:
    """Sign the evidence, if that was asked for; return the lines that say so. Without a signature no run succeeds."""
    if run.signer is None:
        return []
    line, is_signed = sign_evidence(run.evidence, run.signer, allow_inconclusive=run.options.allow_inconclusive)
    if not is_signed:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    return [line]


def _write_baseline(run: Run, session: pytest.Session) -> None:
    try:
        session.config.stash[BASELINE] = run.counter.write_baseline()
        kept = run.counter.has_counts
    except HilgateError as error:
        session.config.stash[BASELINE], kept = [str(error)], False
    if not kept:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _abandon(config: pytest.Config) -> None:
    if (run := config.stash.get(RUN, None)) is not None:
        run.devices.abort()


@pytest.hookimpl(trylast=True)  # the verdict is the last thing that is read
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the tables, where the evidence is, and the verdict."""
    run = config.stash.get(RUN, None)
    if run is None or not run.evidence.begun:
        return
    writer = config.get_terminal_writer()
    evidence = run.evidence

    def write_line(line: str, **markup: bool) -> None:
        terminalreporter.write_line(printable_lines(line, indent="  "), **markup)

    terminalreporter.section("hilgate")
    ending = config.stash.get(ENDING, None) or look_at(run)
    if ending.report is not None:
        width, color = writer.fullwidth, writer.hasmarkup
        terminalreporter.write(render(ending.report, width=width, color=color, decision_first=False))
    for line in summary_lines(evidence, [*config.stash.get(BASELINE, []), *ending.remarks]):
        write_line(line)
    for command in ending.commands:  # as it is: printable, and GitHub's to obey
        terminalreporter.write_line(command)
    write_line(f"verdict: {evidence.verdict}", **{color_of(evidence.verdict): True, "bold": True})
    if config.get_verbosity() <= 0 and _has_device_errors_only(terminalreporter, run):
        terminalreporter.reportchars = terminalreporter.reportchars.replace("E", "")  # said above


def _has_device_errors_only(reporter: Any, run: Run) -> bool:
    """Tell whether every error of this run says that a device cannot be used."""
    said = {str(error) for error in run.devices.unavailable.values()}
    return bool(said) and all(report.longreprtext.strip() in said for report in reporter.stats.get("error", []))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Name the devices as pytest-benchmark's machine, by which it compares results."""
    run = config.stash.get(RUN, None)
    if run is not None:
        machine_info["hil_devices"] = sorted({cell.device.name for cell in run.cells})
