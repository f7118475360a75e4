"""Interruption of a command by a signal: results so far are kept, and every process that it started ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import click

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """A signal that ends the command, as SIGINT does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interruption(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as SIGINT does, with the exit code 128 + the signal's number.

    A signal that is ignored, as under ``nohup``, or that has a handler keeps its behaviour.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number in _ENDING if before[number] is signal.SIG_DFL and _may_change_signals()]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(128 + getattr(error, "number", signal.SIGINT)) from None
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _may_change_signals() -> bool:
    return threading.current_thread() is threading.main_thread()
