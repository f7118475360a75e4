"""Starts a program and ends it with everything that it started, however normgauge itself ends.

It is run by its path, by an interpreter without packages, one for each worker:

    python -I -S keeper.py SOCKET COMMAND...

The host holds the other end of the socket. When that is closed, by the host or by its death, all is ended. On Linux
whatever the program starts becomes a child of the keeper when its own parent ends, a daemon in a session of its own
too; elsewhere the program's process group is ended. Lines on the socket:

    started NUMBER            the program runs, as this process
    cannot REASON             it could not be started
    left NUMBER STATE NAME    something had left the program's session; STATE is `ended`, or `lives` if that failed
    ended CODE                the program's exit code, or minus its signal; all else is gone
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

#: Seconds in which all must be gone, and in which what left the program's session may end by itself.
_MOST = 5.0
_GRACE = 1.0
#: Seconds between two looks at what is still there, and at whether the host is.
_PAUSE = 0.005
_LOOK = 1.0
_NAME = 100
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Keeper:
    """The program, and its exit code once it has ended."""

    def __init__(self, host: int, command: list[str]) -> None:
        self._host, self._parent = host, os.getppid()
        self._control = _process_control()
        self._control(_PR_SET_CHILD_SUBREAPER, 1)
        self._code: int | None = None
        self.program = self._start(command)

    def say(self, words: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(self._host, words.encode(errors="replace") + b"\n")

    def _start(self, command: list[str]) -> int:
        failed, failing = os.pipe()
        program = os.fork()
        if not program:
            try:
                os.setsid()
                self._control(_PR_SET_PDEATHSIG, signal.SIGKILL)
                for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python
                    signal.signal(ignored, signal.SIG_DFL)
                os.execvp(command[0], command)
            except OSError as error:
                os.write(failing, (error.strerror or str(error)).encode())
            finally:
                os._exit(127)
        os.close(failing)
        reason = os.read(failed, 4096).decode()
        self.say(f"cannot {reason}" if reason else f"started {program}")
        return program

    def watch(self, woken: int) -> None:
        """Wait until the program ends, or must."""
        poll = select.poll()
        poll.register(self._host, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while self._code is None and os.getppid() == self._parent:
            ready = [number for number, _ in poll.poll(1000 * _LOOK)]
            if self._host in ready or (woken in ready and set(os.read(woken, 64)) & set(_ENDING)):
                return
            self._reap()

    def _reap(self) -> bool:
        """Take note of all that has ended; whether anything is left."""
        try:
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return True
                if process == self.program:
                    self._code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return False

    def end(self) -> None:
        """End the program and whatever descends from it, and tell what had left its session."""
        begun = time.monotonic()
        strayed: dict[int, str] = {}
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.program, signal.SIGKILL)
        while self._reap() and (passed := time.monotonic() - begun) < _MOST:
            for process, session in _descendants():
                if session != self.program:
                    if passed < _GRACE and os.getppid() == self._parent:  # else nobody is there to be told
                        continue
                    strayed.setdefault(process, _name(process))
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(_PAUSE)
        living = {process for process, _ in _descendants()}
        for process, name in strayed.items():
            self.say(f"left {process} {'lives' if process in living else 'ended'} {name}")
        self.say(f"ended {-signal.SIGKILL if self._code is None else self._code}")


def _process_control() -> Callable[[int, int], object]:
    if not sys.platform.startswith("linux"):
        return lambda *_: None
    import ctypes

    control = ctypes.CDLL(None).prctl
    return lambda what, value: control(what, ctypes.c_ulong(value), 0, 0, 0)


def _descendants() -> Iterator[tuple[int, int]]:
    """The processes that descend from this one and have not ended, each with its session; none without /proc."""
    found: dict[int, tuple[str, int, int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
                found[int(entry)] = state.decode(), int(parent), int(session)
    of_us = {os.getpid()}
    for _ in found:
        more = {process for process, (_, parent, _) in found.items() if parent in of_us} - of_us
        if not more:
            break
        of_us |= more
    return ((one, found[one][2]) for one in of_us - {os.getpid()} if one in found and found[one][0] not in "ZX")


def _name(process: int) -> str:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read(_NAME).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return "".join(letter if letter.isprintable() else " " for letter in words) or "?"


def main(host: int, command: list[str]) -> None:
    os.set_inheritable(host, False)
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_ENDING):
        signal.signal(number, lambda *_: None)
    keeper = Keeper(host, command)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # the program's pipes end with it
        os.dup2(nothing, standard)
    keeper.watch(woken)
    keeper.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
