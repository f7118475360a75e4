"""The Hypothesis strategies for plans: shapes, settings and regimes that an implementation can be asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from normgauge.conformance.experiments.group_norm import EPS
from normgauge.conformance.plans import REGIMES, Plan
from normgauge.conformance.relations import RELATIONS

#: Positions for each rank are drawn within these, so that a case stays small.
_EXTENTS: Final[Mapping[int, tuple[int, ...]]] = {3: (17,), 4: (5, 5), 5: (3, 3, 3)}
_EPS: Final = (EPS, 1e-5, 1e-3, 0.5, 1e-8)
_MOMENTA: Final = (0.25, 0.1, 0.9, 0.01, 1.0, 0.0)

#: None for half of the plans: then all cases are apart.
_RELATED: Final = {
    layer: [None] * len(names) + names
    for layer in ("group_norm", "batch_norm")
    if (names := [one.name for one in RELATIONS if layer in one.layers])
}

#: What a plan no longer asks where a requirement diverges already: one finding, not two.
_SETTLED: Final[Mapping[str, tuple[str, ...]]] = {
    # Relations that hold of the canonical semantics alone.
    "GN-01": ("scale", "groups = C", "groups = 1"), "BN-01": ("scale",),
    "GN-03": ("groups = C", "groups = 1"),
    "GN-04": ("channel order", "groups = C"),
    "BN-07": ("scale", "shift", "momentum and history"),
    "GN-05": ("small eps",), "BN-10": ("small eps",), "BN-11": ("momentum of many digits",),
    "GN-08": ("no affine parts",), "BN-13": ("no affine parts",),
    "GN-10": ("several samples", "with_nan", "with_infinity"),
    "GN-12": ("large_mean",), "BN-17": ("large_mean",),
    "GN-11": ("one value",), "BN-06": ("one value",),
    "GN-22": ("groups = C",), "GN-23": ("groups = 1",),
    "BN-26": ("new statistics",), "BN-05": ("momentum None",), "BN-08": ("untracked",),
    "BN-14": ("several steps",), "BN-15": ("eval", "several steps"),
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """What plans may be drawn for one implementation at one dtype.

    ``pool`` holds the only (shape, groups) that a compiling framework is asked; empty means any.
    ``settled`` names features that are left out.
    """

    layer: str
    dtype: str
    ranks: tuple[int, ...]
    pool: tuple[tuple[tuple[int, ...], int], ...] = ()
    settled: Collection[str] = field(default_factory=frozenset)


def settled_by(diverging: Collection[str]) -> frozenset[str]:
    """The features that these diverging requirements have settled."""
    return frozenset(feature for number in diverging for feature in _SETTLED.get(number, ()))


@st.composite
def plans(draw: st.DrawFn, space: Space) -> Plan:
    """A plan of ``space``; simpler ones come first, for Hypothesis to shrink towards."""
    pool = [(shape, groups) for shape, groups in space.pool if _fits(space, shape, groups)]
    shape, groups = draw(st.sampled_from(pool)) if pool else draw(_shapes(space))
    regime = draw(st.sampled_from([name for name in REGIMES if name not in space.settled]))
    parts = st.just((True, True)) if "no affine parts" in space.settled else _AFFINE
    weight, bias = draw(parts)
    relation = draw(st.sampled_from([one for one in _RELATED[space.layer] if one not in space.settled]))
    if relation == "groups = C" and not ("one value" in space.settled and set(shape[2:]) <= {1}):
        groups = shape[1]
    if relation == "groups = 1" and "no affine parts" not in space.settled:
        groups, weight, bias = 1, False, False
    settings: dict[str, Any] = {"modes": ("train",)} if space.layer == "group_norm" else draw(_batch_settings(space))
    return Plan(
        space.layer,
        space.dtype,
        shape,
        groups,
        regime,
        draw(st.integers(0, 2**16)),
        draw(st.sampled_from([eps for eps in _EPS if eps >= EPS] if "small eps" in space.settled else _EPS)),
        weight,
        bias,
        relation=relation,
        **settings,
    )


#: Both parts or none most often: a part alone is what many have no way to be asked.
_AFFINE: Final = st.sampled_from(
    [(False, False), (True, True), (True, True), (False, False), (True, False), (False, True)]
)


def _fits(space: Space, shape: tuple[int, ...], groups: int) -> bool:
    """Whether a shape asks nothing that is settled."""
    values = math.prod(shape[1:]) // groups if space.layer == "group_norm" else math.prod(shape) // shape[1]
    several = "several samples" in space.settled and shape[0] > 1
    return not several and not ("one value" in space.settled and values == 1)


@st.composite
def _shapes(draw: st.DrawFn, space: Space) -> tuple[tuple[int, ...], int]:
    rank = draw(st.sampled_from(sorted(space.ranks)))
    spatial = tuple(draw(st.integers(1, most)) for most in _EXTENTS.get(rank, ()))
    samples = 1 if "several samples" in space.settled else draw(st.integers(1, 4))
    if space.layer == "group_norm":
        groups, size = draw(st.integers(1, 6)), draw(st.integers(1, 4))
        if "one value" in space.settled and size == 1 and set(spatial) <= {1}:
            size = 2
        return (samples, groups * size, *spatial), groups
    if "one value" in space.settled and samples == 1 and set(spatial) <= {1}:
        samples = 2
    return (samples, draw(st.integers(1, 8)), *spatial), 1


@st.composite
def _batch_settings(draw: st.DrawFn, space: Space) -> dict[str, Any]:
    modes: Sequence[str] = ("train",) if "eval" in space.settled else ("train", "eval")
    steps = draw(st.lists(st.sampled_from(modes), min_size=1, max_size=1 if "several steps" in space.settled else 3))
    track = True if "untracked" in space.settled else draw(st.sampled_from([True, True, True, False]))
    momenta: Sequence[float | None] = _MOMENTA
    if "momentum of many digits" in space.settled:
        momenta = [one for one in _MOMENTA if one * 4 == int(one * 4)]
    if "momentum None" not in space.settled:
        momenta = [*momenta, None]
    return {
        "modes": tuple(steps),
        "momentum": draw(st.sampled_from(momenta)),
        "track": track,
        "statistics": track and ("new statistics" in space.settled or draw(st.booleans())),
    }
