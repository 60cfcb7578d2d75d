"""A real browser for tests of the report's page: Debian's chromium-headless-shell, driven by Playwright.

``Browser.open`` shows a file or an address and notes whatever the page says, asks for or opens. What is measured in a
shown page is in ``page_checks``. As a program it makes the picture that README shows:

    python -m tests.support.browser EVIDENCE PICTURE
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from playwright import sync_api

from harness.report.making import make_report, read_sources
from harness.report.page import render_page

# Debian's, then what other systems call theirs. Playwright's own download is not taken: tests need no network.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# What Jenkins sends with the files of a build, unless its administrator says otherwise (DirectoryBrowserSupport.CSP).
JENKINS = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"}
# After which something hangs: beside other work a page of Plotly's took half a minute.
LIMIT_MS = 180_000
PICTURE_HEIGHT = 840


class NoBrowserError(Exception):
    """No browser that Playwright can drive is on this machine, or nothing to read its paper with."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a page is looked at: the window in CSS pixels, the ground that its reader prefers, scripts or none."""

    width: int = 1280
    height: int = 900
    scheme: Literal["light", "dark"] = "light"
    scripts: bool = True


@dataclass(kw_only=True)
class Shown:
    """A page that is open, and what it did since it was asked for.

    Attributes:
        said: messages in its console, errors that nobody caught, dialogs, windows and downloads.
        requests: the address of each, its own first.
    """

    page: sync_api.Page
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def print(self, path: Path) -> list[str]:
        """Print to PDF on A4, and return the text of each sheet."""
        self.page.pdf(path=path, format="A4", prefer_css_page_size=True)
        return sheets(path)


class Browser:
    """A browser that runs; pages are opened one after another, each as for a person who never was there before."""

    def __init__(self, chromium: sync_api.Browser) -> None:
        self._chromium = chromium

    @contextmanager
    def open(self, address: str | Path, view: View | None = None, *, script: str = "") -> Iterator[Shown]:
        """Show a page: a file, as by double click, or what a server has.

        Args:
            address: the file, or an http address.
            view: how it is looked at.
            script: a script of ours that runs before the page, whatever its policy forbids.
        """
        view = view or View()
        context = self._chromium.new_context(
            viewport={"width": view.width, "height": view.height},
            color_scheme=view.scheme,
            java_script_enabled=view.scripts,
        )
        context.set_default_timeout(LIMIT_MS)
        if script:
            context.add_init_script(script)
        try:
            shown = _listened(context)
            shown.page.goto(address.absolute().as_uri() if isinstance(address, Path) else address)
            yield shown
        finally:
            context.close()


def _listened(context: sync_api.BrowserContext) -> Shown:
    page = context.new_page()
    shown = Shown(page=page)

    def dismiss(dialog: sync_api.Dialog) -> None:
        shown.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: shown.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: shown.said.append(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("download", lambda download: shown.said.append(f"download: {download.url}"))
    context.on("page", lambda other: shown.said.append(f"window: {other.url}"))
    context.on("request", lambda request: shown.requests.append(request.url))
    return shown


def find_program() -> str | None:
    """Return the browser's path; None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser.

    Playwright keeps an event loop of its own running in this thread until the end: what takes ``asyncio.run`` cannot
    run beside it, so tests start the browser for one module and not for the session.

    Raises:
        NoBrowserError: there is none on this machine.
    """
    program = find_program()
    if program is None or shutil.which("pdftotext") is None:
        raise NoBrowserError(
            "a browser and pdftotext are needed: apt-get install chromium-headless-shell poppler-utils"
        )
    with sync_api.sync_playwright() as playwright:
        # As root Chromium refuses to run in its sandbox. What it is shown is made by these tests.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


@contextmanager
def serving(files: Mapping[str, bytes], headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve files on the loopback interface; yield the address and the paths that were asked for, as they come.

    Args:
        files: HTML, by path without its first slash.
        headers: are sent with each of them, such as JENKINS.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = files.get(self.path.removeprefix("/"))
            self.send_response(404 if content is None else 200)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sheets(path: Path) -> list[str]:
    """Return the text of each page of a PDF, in the order in which it was written: a table's cell by cell."""
    done = subprocess.run(["pdftotext", "-raw", str(path), "-"], check=True, capture_output=True, text=True)
    return done.stdout.removesuffix("\f").split("\f")


def main(arguments: Sequence[str]) -> int:
    """Make a picture of the report of an evidence.json or its folder: its beginning, light, 1280 px wide."""
    if len(arguments) != 2:
        print("usage: python -m tests.support.browser EVIDENCE PICTURE", file=sys.stderr)
        return 2
    evidence, picture = map(Path, arguments)
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        page = Path(folder) / "report.html"
        page.write_text(render_page(make_report(read_sources([evidence]))), encoding="utf-8")
        with browser.open(page, View(width=1280, height=PICTURE_HEIGHT)) as shown:
            shown.page.screenshot(path=picture)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
