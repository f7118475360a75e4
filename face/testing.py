"""Assertions and checks for the unit tests of a GroupNorm, a BatchNorm or an adapter of one's own::

    from normgauge.testing import assert_group_norm
    assert_group_norm(my_group_norm(x, 4, weight, bias), x, 4, weight, bias)

Importing it imports nothing else; NumPy and the suite follow with the first name that is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from normgauge.conformance.form.adapter import WrongAdapter, check_adapter
    from normgauge.conformance.testing.asserts import (
        assert_batch_norm,
        assert_batch_norm_gradients,
        assert_folded_batch_norm,
        assert_group_norm,
        assert_group_norm_gradients,
    )
    from normgauge.conformance.testing.checks import Checked, check_batch_norm, check_group_norm
    from normgauge.conformance.testing.parametrized import (
        parametrize_with_batch_norm_checks,
        parametrize_with_group_norm_checks,
    )

__all__ = [
    "Checked",
    "WrongAdapter",
    "assert_batch_norm",
    "assert_batch_norm_gradients",
    "assert_folded_batch_norm",
    "assert_group_norm",
    "assert_group_norm_gradients",
    "check_adapter",
    "check_batch_norm",
    "check_group_norm",
    "parametrize_with_batch_norm_checks",
    "parametrize_with_group_norm_checks",
]

#: Where the names are.
_PLACES: Final = {
    "WrongAdapter": "form.adapter",
    "check_adapter": "form.adapter",
    "assert_batch_norm": "testing.asserts",
    "assert_batch_norm_gradients": "testing.asserts",
    "assert_folded_batch_norm": "testing.asserts",
    "assert_group_norm": "testing.asserts",
    "assert_group_norm_gradients": "testing.asserts",
    "Checked": "testing.checks",
    "check_batch_norm": "testing.checks",
    "check_group_norm": "testing.checks",
    "parametrize_with_batch_norm_checks": "testing.parametrized",
    "parametrize_with_group_norm_checks": "testing.parametrized",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'normgauge.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"normgauge.conformance.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
