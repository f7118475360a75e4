"""The checks of a function as the parameters of a test of pytest, one test per requirement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from normgauge.adapters.callables.adapter import CallableAdapter, Words, adapter_of
from normgauge.conformance.testing.checks import DTYPES, Checked, checked, requirements_of, text_of
from normgauge.results.records import DIVERGENT


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """A function that is measured at the first check that is called, for all of them."""

    adapter: type[CallableAdapter]
    dtypes: tuple[str, ...]
    found: dict[str, Checked | AssertionError] = field(default_factory=dict)

    def __call__(self) -> Checked:
        __tracebackhide__ = True
        if not self.found:
            try:
                self.found["all"] = checked(self.adapter, self.dtypes)
            except AssertionError as error:
                self.found["all"] = error
        one = self.found["all"]
        if isinstance(one, AssertionError):
            raise AssertionError(str(one))
        return one


@dataclass(frozen=True, kw_only=True, eq=False)
class Check:
    """One requirement; called, it passes, fails with the difference, or is skipped with the reason."""

    requirement: str
    title: str
    measured: Callable[[], Checked]

    def __call__(self) -> None:
        __tracebackhide__ = True
        judgements = self.measured().of(self.requirement)
        wrong = [one for one in judgements if one.verdict in DIVERGENT]
        if wrong:
            raise AssertionError("\n".join(dict.fromkeys(map(text_of, wrong))))
        # A type that the function does not have is no reason to skip what another type was checked for.
        supported = [one for one in judgements if one.verdict != "unsupported"]
        undecided = [one for one in supported or judgements if one.verdict != "conforms"]
        if undecided or not judgements:
            reasons = dict.fromkeys(f"{one.verdict}: {one.sentence}" for one in undecided)
            pytest.skip("; ".join(reasons) or "not checked for this function")

    def __repr__(self) -> str:
        return f"{self.requirement} {self.title}"


def parametrize_with_group_norm_checks(
    function: Callable[..., Any],
    *,
    dtypes: Sequence[str] = DTYPES,
    known_differences: Mapping[str, str] | None = None,
    **words: Any,
) -> pytest.MarkDecorator:
    """Give a test the parameter ``check``, once for each requirement; the test calls ``check()``.

    The function is measured once, at the first check, in this process. ``words`` and the other arguments are those of
    ``check_group_norm``. A known difference is an expected failure, and must be there.

    Raises:
        ValueError: a function or a word that makes no sense.
    """
    return _parametrized(function, Words(layer="group_norm", **words), tuple(dtypes), known_differences or {})


def parametrize_with_batch_norm_checks(
    function: Callable[..., Any],
    *,
    dtypes: Sequence[str] = DTYPES,
    known_differences: Mapping[str, str] | None = None,
    **words: Any,
) -> pytest.MarkDecorator:
    """The same for BatchNorm, with the arguments of ``check_batch_norm``.

    Raises:
        ValueError: a function or a word that makes no sense.
    """
    return _parametrized(function, Words(layer="batch_norm", **words), tuple(dtypes), known_differences or {})


def _parametrized(
    function: Callable[..., Any], words: Words, dtypes: tuple[str, ...], known: Mapping[str, str]
) -> pytest.MarkDecorator:
    assert words.layer is not None
    measured = _Measured(adapter=adapter_of(function, words), dtypes=dtypes)
    checks = [
        Check(requirement=one.id, title=one.title, measured=measured) for one in requirements_of(words.layer, dtypes)
    ]
    unknown = [one for one in known if one not in {check.requirement for check in checks}]
    if unknown:
        raise ValueError(f"known_differences has {unknown[0]!r}; allowed: {checks[0].requirement} and the like")
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                check,
                id=repr(check),
                marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=known[check.requirement])]
                if check.requirement in known
                else [],
            )
            for check in checks
        ],
    )
