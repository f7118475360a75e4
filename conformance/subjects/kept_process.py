"""A program that is gone, with everything it started, when it is ended or this process is (``keeper.py``)."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_KEEPER: Final = Path(__file__).with_name("keeper.py")
#: Seconds that a keeper gets to end everything: somewhat more than it gives itself.
_TO_END: Final = 8.0
#: The variable that marks what a worker started; it is looked for where the keeper itself was ended.
MARK: Final = "NORMGAUGE_WORKER"
_SWEEPS: Final = 20
_PAUSE: Final = 0.01


class KeptProcess:
    """A running program with its three pipes; ``pid`` is its number.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.pid = self._code = 0
        self._mark = secrets.token_hex(16)
        self._socket, there = socket.socketpair()
        with there:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(there.fileno()), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environment, MARK: self._mark},
                start_new_session=True,
                pass_fds=[there.fileno()],
            )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        self.stdin: IO[bytes] = self._keeper.stdin
        self.stdout: IO[bytes] = self._keeper.stdout
        self.stderr: IO[bytes] = self._keeper.stderr
        self._report = self._socket.makefile("r", encoding="utf-8", errors="replace")
        word, _, rest = self._report.readline().strip().partition(" ")
        if word != "started":
            self.end()
            for pipe in (self.stdin, self.stdout, self.stderr):
                pipe.close()
            raise OSError(rest or "its keeper ended")
        self.pid = int(rest)

    def poll(self) -> int | None:
        """The program's exit code, or minus the signal that ended it; None while it runs."""
        return None if self._keeper.poll() is None else self._settle()

    def wait(self, timeout: float) -> int:
        """The same, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not within ``timeout`` seconds.
        """
        self._keeper.wait(timeout)
        return self._settle()

    def end(self) -> int:
        """End the program and everything it started; how it ended."""
        if not self._report.closed:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        try:
            self._keeper.wait(_TO_END)
        except subprocess.TimeoutExpired:  # stopped by what it keeps
            self._keeper.kill()
            self._keeper.wait()
        return self._settle()

    def _settle(self) -> int:
        """How the program ended; what had left its session is named on standard error, once."""
        if not self._report.closed:
            said = self._read_report()
            self._report.close()
            self._socket.close()
            self._code = int(said["ended"][-1]) if "ended" in said else self._keeper.returncode
            for words in said.get("left", []) if "ended" in said else self._end_marked():
                number, state, name = words.split(" ", 2)
                how = "was ended" if state == "ended" else "cannot be ended and still runs"
                print(f"process {number}, which a worker had started, {how}: {name}", file=sys.stderr)
        return self._code

    def _read_report(self) -> dict[str, list[str]]:
        said: dict[str, list[str]] = {}
        with contextlib.suppress(OSError):
            for line in self._report:
                word, _, rest = line.rstrip("\n").partition(" ")
                said.setdefault(word, []).append(rest)
        return said

    def _end_marked(self) -> Iterator[str]:
        """End what has the mark in its environment: its keeper was ended and can no longer."""
        mark = f"{MARK}={self._mark}".encode()
        for _ in range(_SWEEPS):  # one may start another while it is looked for
            found = [folder for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)]
            for folder in found:
                with contextlib.suppress(OSError):
                    name = (folder / "cmdline").read_bytes()[:100].replace(b"\0", b" ").decode(errors="replace")
                    os.kill(int(folder.name), signal.SIGKILL)
                    if int(folder.name) != self.pid:
                        yield f"{folder.name} ended {name.strip()}"
            if not found:
                return
            time.sleep(_PAUSE)


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
