"""Layers that are right until they take the process with them."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from faulty.group_norm import GroupNorm

Array = np.ndarray[Any, np.dtype[Any]]


class DiesInRankFive(GroupNorm):
    def check(self, x: Array) -> None:
        if x.ndim == 5:
            os.kill(os.getpid(), signal.SIGSEGV)
        super().check(x)


class ExitsInRankFive(GroupNorm):
    def check(self, x: Array) -> None:
        if x.ndim == 5:
            print("out of memory, say", file=sys.stderr)
            os._exit(7)
        super().check(x)


class HangsInRankFive(GroupNorm):
    def check(self, x: Array) -> None:
        if x.ndim == 5:
            time.sleep(3600)
        super().check(x)


class AlwaysDies(GroupNorm):
    def check(self, x: Array) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class AlwaysRaises(GroupNorm):
    def check(self, x: Array) -> None:
        raise RuntimeError("not today")


class PrintsToStandardOutput(GroupNorm):
    def check(self, x: Array) -> None:
        print('{"steps": []}')
        os.write(1, b"a C library prints here\n")
        super().check(x)
