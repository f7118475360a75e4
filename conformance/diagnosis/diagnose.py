"""Which semantics an implementation follows: what is shipped first, then the fewest mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.candidates import Candidates, Diagnosis, Seen, fitting, score
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of
from normgauge.oracle import Arithmetic, fewer_digits, precisions


def diagnose(layer: str, seen: Sequence[Seen], dtype: str, references: References) -> Diagnosis:
    """The joint diagnosis of all diagnosing probes in ``seen``.

    Where nothing survives the bounds of float64, those of float32 are tried: an implementation that
    takes float64 and computes in float32 follows its semantics all the same. So with half precision, which may
    be summed in float32 or in itself.
    """
    asked = tuple(one for one in seen if one.probe.diagnoses)
    if found := explained(layer, asked, dtype, references):
        return found
    arithmetic, shape = Arithmetic(dtype), kind_of(layer).sizes
    scores = tuple(score(one, arithmetic, references) for one in asked)
    return Diagnosis(layer=layer, seen=asked, scores=scores, survivors=np.zeros(shape, bool), arithmetic=arithmetic)


def explained(layer: str, asked: Sequence[Seen], dtype: str, references: References) -> Diagnosis | None:
    """The diagnosis of these probes where a candidate survives, special ones left out if need be; else None.

    The product of what is shipped comes first. Where nothing of it fits, the fewest mistakes beside it are looked for,
    then a rare one;
    special probes are left out only where no mistake explains them together with the others. What has fewer digits than
    its type comes after the mistakes: its bounds are wide.
    """
    ladder = precisions(dtype)
    if found := shipped(layer, asked, dtype, references):
        if not found.misfits:
            return found
        for rare in (False, True):
            if other := with_mistakes(layer, asked, found.arithmetic, references, leave_out=False, rare=rare):
                return other
        return found
    for leave_out in (False, True):
        for rare, arithmetic in itertools.product((False, True), ladder):
            if found := with_mistakes(layer, asked, arithmetic, references, leave_out=leave_out, rare=rare):
                return found
        among = Candidates(leave_out=leave_out)
        for arithmetic in fewer_digits(dtype):
            if found := fitting(layer, asked, arithmetic, references, among):
                return found
    return None


def shipped(layer: str, asked: Sequence[Seen], dtype: str, references: References) -> Diagnosis | None:
    """As :func:`explained`, without mistakes."""
    fitting_ones = (fitting(layer, asked, arithmetic, references) for arithmetic in precisions(dtype))
    return next((one for one in fitting_ones if one is not None), None)


def with_mistakes(
    layer: str,
    asked: Sequence[Seen],
    arithmetic: Arithmetic,
    references: References,
    *,
    leave_out: bool,
    rare: bool = False,
) -> Diagnosis | None:
    """The diagnosis with the fewest mistakes, one or two; what fits as well with no more of them stands in ``also``.

    Of two mistakes one alone explains the first outputs, and only what departs at most once beside them is tried. Of
    the ``rare`` ones a single one is looked for.
    """
    kind = kind_of(layer)
    known = [(axis.name, mistake.name) for axis in kind.axes for mistake in (axis.rare if rare else axis.mistakes)]
    first_steps = [_first_step(one) for one in asked if not one.probe.special]
    whole = len(kind.axes)

    def tried(mistakes: Mapping[str, str], most: int) -> tuple[Diagnosis | None, bool]:
        """The diagnosis where these mistakes fit, and whether they fit the first outputs."""
        excluded = beside(kind, mistakes, most)
        excluded = _by_first_outputs(kind, first_steps, arithmetic, references, mistakes, excluded)
        fits = not bool(excluded.all())
        if not fits:
            return None, False
        among = Candidates(mistakes=mistakes, excluded=excluded, leave_out=leave_out)
        return fitting(layer, asked, arithmetic, references, among), True

    alone = {one: tried(dict([one]), whole) for one in known}
    found = [diagnosis for diagnosis, _ in alone.values() if diagnosis is not None]
    if not found and not rare and not tried({}, whole)[1]:  # of two mistakes at least one shows in the first outputs
        begins = [one for one, (_, fits) in alone.items() if fits]
        pairs = {frozenset((one, other)) for one in begins for other in known if one[0] != other[0]}
        several = (tried(dict(sorted(pair, key=known.index)), 1)[0] for pair in sorted(pairs, key=sorted))
        found = [diagnosis for diagnosis in several if diagnosis is not None]
    if not found:
        return None
    fewest = min(_departures(kind, one) for one in found)
    first, *others = [one for one in found if _departures(kind, one) == fewest]
    return replace(first, also=tuple(one.followed()[0] for one in others))


def _departures(kind: LayerKind, diagnosis: Diagnosis) -> int:
    """How often the survivor nearest to canonical departs beside its mistakes."""
    return int(min(np.count_nonzero(point) for point in np.argwhere(diagnosis.survivors)))


def beside(kind: LayerKind, mistakes: Mapping[str, str], most: int) -> NDArray[np.bool_]:
    """Where the product says something on an axis that has a mistake, or departs more than ``most`` times.

    Running statistics that normalise in training make every other axis matter for every output: not beside a mistake.
    """
    places = np.indices(kind.sizes)
    excluded = np.count_nonzero(places, axis=0) > most
    for place, axis in zip(places, kind.axes, strict=True):
        if axis.name in mistakes or axis.name == kind.training_statistics:
            excluded |= place > 0
    return np.asarray(excluded)


def _first_step(one: Seen) -> Seen:
    """The output of the first step alone: it depends on few axes, and excludes most candidates."""
    case = replace(one.probe.case, steps=one.probe.case.steps[:1])
    probe = replace(one.probe, case=case, quantities=("output",))
    return Seen(probe=probe, observation=replace(one.observation, steps=one.observation.steps[:1]))


def _by_first_outputs(
    kind: LayerKind,
    first_steps: list[Seen],
    arithmetic: Arithmetic,
    references: References,
    mistakes: Mapping[str, str],
    excluded: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """``excluded`` and what the first outputs exclude; axes of the running statistics say nothing of these.

    The step that excludes all is put first for the next mistakes: it is the most telling one.
    """
    said = tuple(slice(0, 1) if axis.name in kind.running_axes else slice(None) for axis in kind.axes)
    left = np.ones(kind.sizes, dtype=bool)
    left[said] = excluded[said]
    for number, one in enumerate(first_steps):
        worst = score(one, arithmetic, references, left, mistakes, ("output",))
        left |= worst > 1
        if left[said].all():
            first_steps.insert(0, first_steps.pop(number))
            break
    return np.asarray(excluded | np.broadcast_to(left[said], kind.sizes))
