"""The unit tests of `docs/unit-tests.md`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from kernels import group_norm

from normgauge.testing import assert_group_norm, parametrize_with_group_norm_checks


def test_one_call() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 3, 3)).astype(np.float32)
    weight, bias = rng.standard_normal((2, 8)).astype(np.float32)
    assert_group_norm(group_norm(x, 4, weight, bias), x, 4, weight, bias)


@parametrize_with_group_norm_checks(group_norm, ranks=(4,))
def test_requirement(check: Callable[[], None]) -> None:
    check()
