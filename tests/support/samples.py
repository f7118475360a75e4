"""Which of many combinations are tried when time is short; the others are slow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def corners(count: int, *values: Sequence[Any]) -> list[Any]:
    """Every combination as a parameter; one in ``count`` is quick.

    They are spread so that each value of one list meets some of every other list: the sum of its places is a multiple
    of ``count``.
    """
    numbered = itertools.product(*(enumerate(one) for one in values))
    return [
        pytest.param(*(value for _, value in own), marks=[pytest.mark.slow] * bool(sum(n for n, _ in own) % count))
        for own in numbered
    ]
