"""The one message of an assertion that does not hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.identify import answer
from normgauge.conformance.identify.arrays import DIGITS
from normgauge.conformance.identify.identify import answered_for
from normgauge.conformance.identify.known import OBSERVED, Known, as_given
from normgauge.conformance.identify.table import as_text
from normgauge.conformance.identify.trials import Trial
from normgauge.conformance.identify.unknown import GRADIENTS, wrong_forms
from normgauge.conformance.identify.whole import Element
from normgauge.conformance.identify.words import title_of
from normgauge.conformance.testing.accuracy import Accuracy, Verdict, wider
from normgauge.oracle import precisions
from normgauge.results.rounding import ROUNDING

_NAME_OF: Final = {quantity: name for name, quantity in OBSERVED.items()}
#: Elements from which the formula is searched for in the sample of the worst element alone.
_LARGE: Final = 2**20
_REMEDIES: Final = {
    "welford": "subtract the mean before squaring, in a second pass; or accept accuracy='welford'",
    "one_pass": "subtract the mean before squaring, or use Welford's recursion; or accept accuracy='one_pass'",
    ROUNDING: "sum in pairs, in blocks or in a wider type; or leave out accuracy='rounding'",
}


def message(verdict: Verdict, known: Known, trial: Trial) -> str:
    """The text: the worst element, the bits that hold, the formula that fits, the cause and the remedy."""
    names = [name for name in OBSERVED if name in known.arrays]
    worst = verdict.beside.worst
    wrong = " and ".join(names) if worst is None else _NAME_OF[worst.quantity]
    headline = f"{wrong} differs from {title_of(trial)}: {_compared(verdict)}"
    return as_text(headline, [*_element(verdict, trial), *_explanation(verdict, known, trial)])


def _compared(verdict: Verdict) -> str:
    beside = verdict.beside
    if beside.refused:
        return f"such a call must be rejected: {beside.refused}"
    meaning = verdict.accuracy.meaning
    if verdict.undecided:
        return (
            f"no decision: {max(beside.wide, beside.silent):,} of {beside.count:,} elements have bounds wider than "
            f"every number of the result ({meaning})"
        )
    size = beside.of_typical if beside.of_bound <= 1 else beside.of_bound
    return f"{size:.2g} times {meaning}, in {_types(verdict)}"


def _types(verdict: Verdict) -> str:
    arithmetic = verdict.beside.arithmetic
    result = arithmetic.storage or arithmetic.dtype
    return result if result == arithmetic.dtype else f"{result} with sums in {arithmetic.dtype}"


def _element(verdict: Verdict, trial: Trial) -> Iterator[tuple[str, str]]:
    worst = verdict.beside.worst
    if worst is None:
        return
    place = ", ".join(map(str, as_given(worst.quantity, worst.index, trial.layout)))
    typical = "" if math.isnan(worst.typical) else f", typical error {worst.typical:.2g}"
    yield (
        "worst element",
        f"{_NAME_OF[worst.quantity]}[{place}] is {worst.observed:.9g}; "
        f"expected {worst.expected:.9g} ± {worst.bound:.2g}{typical}",
    )
    yield "bits that hold", _bits(worst, trial)


def _bits(worst: Element, trial: Trial) -> str:
    """How many leading bits of the largest number of the result the worst element has right."""
    observed = np.abs(np.asarray(trial.question.observed[worst.quantity], dtype=np.float64))
    size = float(np.max(observed, where=np.isfinite(observed), initial=abs(worst.expected)))
    error, every = abs(worst.observed - worst.expected), DIGITS[trial.question.dtype]
    known = 0 < error < math.inf and math.isfinite(size)
    held = min(max(math.floor(math.log2(size / error)), 0), every) if known and size else 0
    return f"{held} of {every}, as a part of the largest number of {_NAME_OF[worst.quantity]}"


def _explanation(verdict: Verdict, known: Known, trial: Trial) -> Iterator[tuple[str, str]]:
    """What fits, why, and what to write instead."""
    if verdict.beside.refused:
        return
    if verdict.undecided:
        yield "remedy", "give fewer values per set, a smaller mean beside the deviation, or a wider type"
        return
    if count := _not_finite(trial):
        yield "cause", f"{count:,} elements are NaN or infinite" if count > 1 else "one element is NaN or infinite"
        return
    if forms := _of_gradient(verdict, trial):
        yield "cause", forms
        return
    asked = verdict.accuracy
    enough = wider(trial.question, asked)
    if enough is not None:
        yield from _of_accuracy(asked, enough)
    found = answered_for(_part(known, trial, verdict))
    if found.verdict == answer.UNKNOWN:
        yield "formula", "no layer that is known gives all these numbers"
    if found.verdict in {answer.CANONICAL, answer.UNKNOWN} or enough is None:
        own = [one for one in found.settings if not one.known.startswith("given")]
        shown = replace(found, differences=(), not_told_apart=(), settings=tuple(own))
        yield from (row for row in shown.rows() if row[0] != "arrays")
        return
    yield "or", found.headline
    yield from (row for row in replace(found, differences=(), settings=()).rows() if row[0] != "arrays")


def _of_gradient(verdict: Verdict, trial: Trial) -> str:
    """The known wrong forms that give the gradient; empty for another quantity, or where none does."""
    question, worst, arithmetic = trial.question, verdict.beside.worst, precisions(trial.question.dtype)[0]
    if worst is None or worst.quantity not in GRADIENTS:
        return ""
    semantics = question.kind.canonical
    expected = predict(question.case(), semantics, arithmetic).steps[0]
    return " or ".join(wrong_forms(question, semantics, worst.quantity, expected, arithmetic))


def _of_accuracy(asked: Accuracy, enough: Accuracy) -> Iterator[tuple[str, str]]:
    """The words where the formula may be right, and the arithmetic is less accurate than was asked for."""
    if enough.sums != asked.sums:
        yield "cause", f"the formula fits with sums in {enough.sums}, which lose digits"
        yield "remedy", f"sum in {'float64' if asked.sums is None else asked.sums}; or accept sums={enough.sums!r}"
        return
    yield "cause", f"the formula fits within {enough.meaning}"
    yield "remedy", _REMEDIES[ROUNDING if asked.name == ROUNDING else enough.name]


def _not_finite(trial: Trial) -> int:
    return sum(int(np.count_nonzero(~np.isfinite(one))) for one in trial.question.observed.values())


def _part(known: Known, trial: Trial, verdict: Verdict) -> Known:
    """Of a large GroupNorm the sample of the worst element; everything else as it is."""
    worst, x = verdict.beside.worst, known.x
    whole = worst is None or trial.question.kind.across_samples or len(worst.index) < 2 or x.size <= _LARGE
    if whole or worst is None:
        return known
    own = slice(worst.index[0], worst.index[0] + 1)
    arrays = {
        name: replace(one, values=one.values[own]) if one.values.ndim > 1 else one
        for name, one in known.arrays.items()
        if name not in {"dweight", "dbias"}
    }
    return replace(known, arrays=arrays)
