"""What is said with a program, line by line: with limits of time and length, and its end told in words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from normgauge.conformance.subjects.kept_process import KeptProcess
from normgauge.conformance.subjects.line_pipes import Lines, LineTooLong

#: What is computed must not depend on the number of cores, and threads that wait for small work cost the most.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
#: Bytes of standard error that are kept, how many are read at a time, and how many letters and lines are quoted.
_KEPT: Final = 2**14
_CHUNK: Final = 2**16
QUOTED: Final = 1000
_LINES: Final = 10


class Ended(Exception):
    """The worker has ended, or nothing it writes can be relied on; the message says what it did."""


class Conversation:
    """A program that was started, and the lines to and from it; with ``echo`` its standard error is told here, too.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, echo: bool = False) -> None:
        self._echo = echo
        self._process = KeptProcess(command, {**ONE_THREAD, **os.environ, **environment})
        self._released = False
        self._lines = Lines(self._process.stdin, self._process.stdout)
        self._errors = b""
        self._listener = threading.Thread(target=self._read_errors, daemon=True)
        self._listener.start()

    def _read_errors(self) -> None:
        while chunk := os.read(self._process.stderr.fileno(), _CHUNK):
            self._errors = (self._errors + chunk)[-_KEPT:]
            if self._echo:
                os.write(2, chunk)

    def send(self, line: bytes) -> None:
        """Give it ``line``, as much of it as it takes now."""
        self._lines.send(line)

    def unread(self) -> bytes:
        """The beginning of what it has written and nobody has taken; nothing is waited for."""
        return self._lines.unread()

    def line(self, time_limit: float, longest: int, pause: float = 0.0) -> bytes:
        """The next line, of at most ``longest`` bytes; ``pause`` as in :meth:`Lines.receive`.

        Raises:
            Ended: there is none.
        """
        deadline = time.monotonic() + time_limit
        code: int | None = None
        while True:
            try:
                line = self._lines.receive(min(0.5, max(deadline - time.monotonic(), 0.01)), longest, pause)
                break
            except LineTooLong:
                raise Ended(f"wrote a line of more than {longest:,} bytes") from None
            except TimeoutError:
                if code is not None:  # and a child of it keeps the pipe open
                    raise Ended(_how_it_ended(code)) from None
                code = self._process.poll()
                if code is None and time.monotonic() >= deadline:
                    raise Ended(f"did not answer within {time_limit:g} s") from None
        if line is None:
            raise Ended(self._closed())
        return line

    def _closed(self) -> str:
        """How a program ended that has closed its standard output."""
        try:
            return _how_it_ended(self._process.wait(timeout=5))
        except subprocess.TimeoutExpired:
            return "closed its standard output and went on"

    def last_words(self) -> str:
        """End the program, and quote the last lines of its standard error."""
        self.end()
        text = self._errors.decode(errors="replace")
        said = [line for one in text.splitlines() if (line := in_one_line(one).strip())][-_LINES:]
        return f"; it last said: {' | '.join(said)[-QUOTED:]}" if said else ""

    def runs(self) -> bool:
        """Whether it has not ended, by itself or by :meth:`end`."""
        return self._process.poll() is None and not self._released

    def close(self, seconds: float) -> bool:
        """Tell it that nothing more will be asked; whether it has ended within ``seconds``."""
        with contextlib.suppress(BrokenPipeError):
            self._lines.close_requests()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=seconds)
        return self._process.poll() is not None

    def end(self) -> None:
        """End it and everything it started, and let go of its pipes."""
        if self._released:
            return
        self._released = True
        self._process.end()
        self._lines.close()
        self._listener.join(timeout=1)
        # A thread still at work has a process at the other end that cannot be ended; closing under it would block.
        if not self._listener.is_alive():
            self._process.stderr.close()


def in_one_line(text: str) -> str:
    """The text without orders to a terminal and without line breaks."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _how_it_ended(code: int) -> str:
    if code < 0:
        known = {one.value: one.name for one in signal.Signals}
        return f"was ended by signal {known.get(-code, -code)}"
    return f"exited with code {code}"
