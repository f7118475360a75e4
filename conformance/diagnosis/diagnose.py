"""Which semantics an implementation follows: what is shipped first, then the fewest mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.candidates import Diagnosis, Seen, fitting, score
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of
from normgauge.oracle import Arithmetic, precisions


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

    The product of what is shipped comes first. Where nothing of it fits, the fewest mistakes beside it are looked for.
    """
    if found := shipped(layer, asked, dtype, references):
        return found
    fitting_ones = (with_mistakes(layer, asked, arithmetic, references) for arithmetic in precisions(dtype))
    return next((one for one in fitting_ones if one is not None), None)


def shipped(layer: str, asked: Sequence[Seen], dtype: str, references: References) -> Diagnosis | None:
    """As :func:`explained`, without mistakes."""
    fitting_ones = (fitting(layer, asked, arithmetic, references) for arithmetic in precisions(dtype))
    return next((one for one in fitting_ones if one is not None), None)


def with_mistakes(
    layer: str, asked: Sequence[Seen], arithmetic: Arithmetic, references: References
) -> Diagnosis | None:
    """The diagnosis with the fewest mistakes, one or two; what fits as well with no more of them stands in ``also``.

    Of two mistakes only what departs at most once beside them is tried. The probe that excluded the last ones comes
    first: it excludes most of the others, too.
    """
    kind = kind_of(layer)
    known = [(axis.name, mistake.name) for axis in kind.axes for mistake in axis.mistakes]
    killer: Seen | None = None
    for count in (1, 2):
        found: list[Diagnosis] = []
        for chosen in itertools.combinations(known, count):
            mistakes = dict(chosen)
            if len(mistakes) < count:
                continue
            excluded = _beside(kind, mistakes, most=1 if count > 1 else len(kind.axes))
            if killer is not None and (score(killer, arithmetic, references, excluded, mistakes) > 1).all():
                continue
            if own := fitting(layer, asked, arithmetic, references, mistakes, excluded):
                found.append(own)
            else:
                killer = _killer(asked, arithmetic, references, mistakes, excluded)
        if found:
            fewest = min(_departures(kind, one) for one in found)
            first, *others = [one for one in found if _departures(kind, one) == fewest]
            return replace(first, also=tuple(one.followed()[0] for one in others))
    return None


def _departures(kind: LayerKind, diagnosis: Diagnosis) -> int:
    """How often the survivor nearest to canonical departs beside its mistakes."""
    return int(min(np.count_nonzero(point) for point in np.argwhere(diagnosis.survivors)))


def _beside(kind: LayerKind, mistakes: Mapping[str, str], most: int) -> NDArray[np.bool_]:
    """Where the product says something on an axis that has a mistake, or departs more than ``most`` times."""
    places = np.indices(kind.sizes)
    excluded = np.count_nonzero(places, axis=0) > most
    for place, axis in zip(places, kind.axes, strict=True):
        if axis.name in mistakes:
            excluded |= place > 0
    return np.asarray(excluded)


def _killer(
    asked: Sequence[Seen],
    arithmetic: Arithmetic,
    references: References,
    mistakes: Mapping[str, str],
    excluded: NDArray[np.bool_],
) -> Seen | None:
    """The plain probe that excludes all by itself, if one does."""
    plain = (one for one in asked if not one.probe.special)
    return next((one for one in plain if (score(one, arithmetic, references, excluded, mistakes) > 1).all()), None)
