"""What can be said where no semantics fits: where the results depart, by what, and which statistics they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.located import SetsOf, located
from normgauge.conformance.diagnosis.predictions import known_gradient_errors, predict
from normgauge.conformance.identify.explain import Explanation
from normgauge.conformance.identify.known import LAST
from normgauge.conformance.identify.parts import Needs, part_for
from normgauge.conformance.identify.question import LIKE_X, Question
from normgauge.oracle import WRONG_FORMS, Arithmetic, Reference, Semantics, precisions

Float = NDArray[np.float64]
#: Elements up to which everything is looked at; of more a part beside the worst element.
_EVERYTHING: Final = 2**18
#: Elements up to which a gradient is compared with every known wrong form.
_FORMS: Final = 2**14
#: How close numbers of sets are that are called one number.
_ALIKE: Final = 1e-3


def what_is_seen(found: Explanation) -> Iterator[str]:
    """Sentences on each result that departs from the nearest semantics."""
    question = found.trial.question
    beside = ""
    if question.x.size > _EVERYTHING:
        question = part_for(question, found.place, Needs.OWN_SET)
        beside = f" (looked at beside sample {found.place.sample}, channel {found.place.channel} alone)"
    arithmetic = precisions(question.dtype)[0]
    semantics = _plainest(question, (question.kind.canonical, found.nearest), arithmetic)
    expected = predict(question.case(), semantics, arithmetic)
    if expected.refused is not None:
        yield f"the call should be refused: {expected.refused}"
        return
    for name, reference in expected.steps[0].items():
        observed = question.observed.get(name)
        if observed is None or not reference.excludes(observed):
            continue
        forms = wrong_forms(question, semantics, name, expected.steps[0], arithmetic) if name in GRADIENTS else []
        if forms:
            yield f"{name}: {' or '.join(forms)}"
            continue
        layout = _sets(question, semantics, arithmetic) if name in LIKE_X else None
        if name == "output" and layout is not None:
            axes = _along_another_axis(question, layout.x_hat, np.asarray(observed, np.float64), arithmetic)
            if axes:
                yield _of_another_axis(axes, found.trial.layout)
                continue
        where = located(observed, reference, arithmetic.half_of_digits, layout)
        yield f"{_WORDS.get(name, name)} departs {where}{beside}"
        if name == "output" and layout is not None:
            yield from _statistics(question, observed, layout)


def _plainest(question: Question, candidates: tuple[Semantics, Semantics], arithmetic: Arithmetic) -> Semantics:
    """The canonical semantics, unless with the nearest one less than half as many elements depart."""
    outside = []
    for semantics in candidates:
        steps = predict(question.case(), semantics, arithmetic).steps
        known = [
            (one, question.observed[name])
            for name, one in (steps[0] if steps else {}).items()
            if name in question.observed
        ]
        outside.append(sum(int((one.ratio(observed) > 1).sum()) for one, observed in known))
    return candidates[1] if 2 * outside[1] < outside[0] else candidates[0]


GRADIENTS: Final = ("dx", "dweight", "dbias")
_WORDS: Final = {"output": "y", "running_mean": "running_mean_after", "running_var": "running_var_after"}


def wrong_forms(
    question: Question, semantics: Semantics, name: str, expected: Mapping[str, Reference], arithmetic: Arithmetic
) -> list[str]:
    """The known wrong gradients that explain this one, without special cases of others.

    A form that is an exchange must explain the other gradients that are given, too.
    """
    if question.x.size > _FORMS or (errors := known_gradient_errors(question.case(), 0, semantics)) is None:
        return []

    def explains(form: str, gradient: str) -> bool | None:
        """None where the form says nothing about a gradient, or the gradient is not given."""
        value, observed = errors.by(form).get(gradient), question.observed.get(gradient)
        if value is None or observed is None or not np.isfinite(value).all():
            return None
        apart = float(np.max(np.abs(value - expected[gradient].value), initial=0.0))
        bound = expected[gradient].bound + arithmetic.half_of_digits * apart
        return not Reference(value=value, bound=bound).excludes(observed)

    found = [
        form
        for form, known in WRONG_FORMS.items()
        if explains(form, name) and not (known.joint and any(explains(form, one) is False for one in GRADIENTS))
    ]
    plainest = [one for one in found if not any(one.startswith(f"{other}, ") for other in found)]
    return [f"{one} (to check: {WRONG_FORMS[one].check})" for one in plainest]


def _sets(question: Question, semantics: Semantics, arithmetic: Arithmetic) -> SetsOf:
    """The set of each element, and the input as it is normalised."""
    shape, groups = question.x.shape, question.groups
    channel = np.arange(shape[1])
    if question.kind.across_samples:
        own = np.broadcast_to(channel, shape[:2])
    else:
        interleaved = semantics.choices.get("grouping") == "interleaved"
        group = channel % groups if interleaved else channel // (shape[1] // groups)
        own = np.arange(shape[0])[:, None] * groups + group
    plain = {name: one for name, one in question.parameters.items() if name not in {"weight", "bias"}}
    x_hat = predict(replace(question, parameters=plain, dy=None).case(), semantics, arithmetic).steps[0]["output"]
    sets = np.broadcast_to(own.reshape(*shape[:2], *(1,) * (len(shape) - 2)), shape)
    return SetsOf(sets=sets, x_hat=x_hat.value)


def _along_another_axis(question: Question, x_hat: Float, observed: Float, arithmetic: Arithmetic) -> list[int]:
    """The axes of x, (N, C, *spatial), along which weight and bias give the output; empty without either."""
    given = [name for name in ("weight", "bias") if name in question.parameters]
    found = []
    for axis in range(2, question.x.ndim) if given else ():
        if question.x.shape[axis] != question.channels:
            continue
        along = tuple(-1 if one == axis else 1 for one in range(question.x.ndim))
        weight, bias = (
            question.parameters[name].astype(np.float64).reshape(along) if name in given else start
            for name, start in (("weight", np.ones(1)), ("bias", np.zeros(1)))
        )
        value = x_hat * weight + bias
        bound = np.full(value.shape, arithmetic.half_of_digits * np.abs(value).max(initial=0.0))
        if not Reference(value=value, bound=bound).excludes(observed):
            found.append(axis)
    return found


def _of_another_axis(axes: Sequence[int], layout: str) -> str:
    """Along which axes of x, as it was given, weight and bias are applied; where the channels are; what to do."""
    last = layout == LAST
    shown = " or ".join(str(axis - 1 if last else axis) for axis in axes)
    remedy = "(C,)" if last else "(C, 1, 1), with a 1 for each axis behind the channels"
    return (
        f"weight and bias are applied along axis {shown} of x, which is as long as the axis of the channels, and not "
        f"along the channels ({layout.replace('_', ' ')}); reshape them to {remedy}"
    )


def _statistics(question: Question, observed: NDArray[np.generic], layout: SetsOf) -> Iterator[str]:
    """Which mean and variance of each set the output shows, where it is x normalised by others."""
    weight, bias = (
        question.parameters.get(name, np.full(question.channels, start)).astype(np.float64)
        for name, start in (("weight", 1.0), ("bias", 0.0))
    )
    if not weight.all():
        return
    along = (1, -1, *(1,) * (question.x.ndim - 2))
    shown = (np.asarray(observed, dtype=np.float64) - bias.reshape(along)) / weight.reshape(along)
    sets, x_hat, shown = layout.sets.ravel(), layout.x_hat.ravel(), shown.ravel()
    count = np.bincount(sets)
    if count.min() < 4:
        return
    means = [np.bincount(sets, one) / count for one in (x_hat, shown)]
    centred = x_hat - means[0][sets]
    slope = np.bincount(sets, centred * shown) / np.maximum(np.bincount(sets, centred**2), 1e-300)
    offset = means[1] - slope * means[0]
    rest = shown - slope[sets] * x_hat - offset[sets]
    if not (slope > 0).all() or np.abs(rest).max() > _ALIKE * np.abs(shown).max():
        return
    factor, shift = slope**-2.0, -offset / slope
    yield (
        f"in each set y is x normalised by other statistics: {_range(factor, '{} times the right variance + eps')}, "
        f"{_range(shift, 'a mean that lies {} right deviations beside the right one')}"
    )


def _range(values: Float, words: str) -> str:
    low, high = float(values.min()), float(values.max())
    alike = abs(high - low) <= _ALIKE * max(abs(low), abs(high))
    text = f"{values.mean():.5g}" if alike else f"{low:.4g} to {high:.4g}"
    return words.format(text)
