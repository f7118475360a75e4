"""normgauge serve: the report on a folder, made again as its files change."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import click

from normgauge.conformance.cli.answers import report_answers
from normgauge.conformance.cli.errors import Mistake, check_folder
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.reports.page.page import write_report
from normgauge.results.file import BrokenResults

#: How often an open page looks for another version, in seconds.
_EVERY: Final = 5


class _Report:
    """The report on a folder: it is written again when a file has changed."""

    def __init__(self, results: Path, folder: Path) -> None:
        self._results, self._folder = results, folder
        self._shown: object = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Write the page if the folder is not the one that it shows; problems stand on the page."""
        with self._lock:
            files = sorted(self._results.glob("*.json*"))
            state = [(path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in files]
            if state == self._shown:
                return
            with contextlib.suppress(BrokenResults):  # the page names each file
                write_report(self._results, self._folder / "index.html", report_answers)
            self._shown = state


class _Handler(SimpleHTTPRequestHandler):
    """Serves the page; a browser loads it again while a run goes on."""

    def __init__(self, *args: Any, report: _Report, **named: Any) -> None:
        self._report = report
        super().__init__(*args, **named)

    def do_GET(self) -> None:
        """Answer with the page as the folder is now."""
        self._report.refresh()
        super().do_GET()

    def end_headers(self) -> None:
        """Let a browser ask again each time."""
        self.send_header("Cache-Control", "no-cache")
        if self.path.partition("?")[0] in {"/", "/index.html"} and "follow" in self.path:
            self.send_header("Refresh", str(_EVERY))
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for each request."""


def server_for(results: Path, folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the report on ``results``, which is written to ``folder``.

    Raises:
        OSError: the address cannot be used.
    """
    handler = functools.partial(_Handler, report=_Report(results, folder), directory=str(folder))
    return ThreadingHTTPServer((host, port), handler)


@click.command()
@click.argument("results", default=Path("build/results"), type=click.Path(path_type=Path))
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which the server listens.")
@ended_by_signals()
def serve(results: Path, port: int, host: str) -> None:
    """Serve the report on a folder, and follow a run.

    RESULTS is a folder of result files (default: build/results). The page is written again when a file has changed.
    Its address with ?follow loads itself again every 5 seconds. Stop the server with Ctrl-C.

    Example: normgauge serve build/results --port 8000
    """
    check_folder(results, "serve")
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = server_for(results, Path(folder), host, port)
        except OSError as error:
            raise Mistake(
                f"cannot listen on {host}, port {port}: {error.strerror}; give another --port or --host"
            ) from None
        with server:
            name, taken = server.server_address[:2]
            click.echo(f"report: http://{name!s}:{taken}/ (follow a run: http://{name!s}:{taken}/?follow)")
            server.serve_forever()
