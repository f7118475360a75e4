"""Lines to and from a worker, written and read by the thread that waits for the answers.

Neither a thread nor a queue stands between: to wake one costs more than a small case does.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import time
from typing import IO, Final

#: As much as a pipe holds on Linux.
_CHUNK: Final = 65536


class LineTooLong(Exception):
    """The worker has written more without a line break than a line may have."""


class Lines:
    """The two pipes of a worker. What it does not read at once is written while its answers are awaited."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers
        for pipe in (requests, answers):
            os.set_blocking(pipe.fileno(), False)
        self._poll = select.poll()
        self._poll.register(answers, select.POLLIN)
        self._unsent = memoryview(b"")
        self._arrived: collections.deque[bytes] = collections.deque()
        self._parts: list[bytes] = []
        self._begun = 0  # bytes of the line that is not whole yet
        self._ended = False

    def unread(self) -> bytes:
        """The beginning of what has arrived and was not taken; nothing is waited for."""
        if not (self._arrived or self._begun or self._ended):
            self._read()
        return self._arrived[0] if self._arrived else b"".join(self._parts)

    def send(self, line: bytes) -> None:
        """Give ``line`` to the worker, as much of it as it takes now."""
        self._unsent = memoryview(bytes(self._unsent) + line)
        self._write()
        if self._unsent:
            self._poll.register(self._requests, select.POLLOUT)

    def receive(self, seconds: float, longest: int, pause: float = 0.0) -> bytes | None:
        """The next line, of at most ``longest`` bytes; None where the worker has closed its end.

        Where nothing has come yet, ``pause`` seconds pass before it is looked for again: to be woken for every one of
        many lines costs more than to take several at a time.

        Raises:
            TimeoutError: no whole line has come within ``seconds``, however much of one has.
            LineTooLong: it has more bytes.
        """
        deadline = time.monotonic() + seconds
        while not self._arrived:
            if self._ended:
                return None
            if self._begun > longest:
                raise LineTooLong
            if not self._read():
                if pause and not self._unsent:
                    time.sleep(pause)
                    pause = 0.0
                    continue
                ready = self._poll.poll(1000 * max(deadline - time.monotonic(), 0))
                if not ready or time.monotonic() > deadline:
                    raise TimeoutError
                if self._unsent and any(number == self._requests.fileno() for number, _ in ready):
                    self._write()
                    if not self._unsent:
                        self._poll.unregister(self._requests)
        if len(self._arrived[0]) > longest:
            raise LineTooLong
        return self._arrived.popleft()

    def close_requests(self) -> None:
        """Tell the worker that nothing more will be asked."""
        self._requests.close()

    def close(self) -> None:
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._requests.fileno(), self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # gone; reading the answer tells how
            self._unsent = memoryview(b"")

    def _read(self) -> bool:
        """Take what has arrived, or the end; whether there was anything."""
        try:
            chunk = os.read(self._answers.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        self._parts.append(chunk)
        self._begun += len(chunk)
        if b"\n" in chunk or not chunk:
            *whole, rest = b"".join(self._parts).split(b"\n")
            self._ended = not chunk
            self._parts, self._begun = [rest], len(rest)
            self._arrived.extend(line + b"\n" for line in whole)
            if self._ended and rest:
                self._arrived.append(rest)
        return True
