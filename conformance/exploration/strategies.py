"""The Hypothesis strategies for plans: shapes, settings and regimes that an implementation can be asked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from normgauge.conformance.exploration.plans import CASES_A_PLAN, REGIMES, Plan
from normgauge.conformance.requirements.inputs import usual_eps
from normgauge.conformance.requirements.requirement import GRADIENT_REQUIREMENTS
from normgauge.conformance.verdicts.relations import RELATIONS

#: Positions for each rank are drawn within these, so that a case stays small.
_EXTENTS: Final[Mapping[int, tuple[int, ...]]] = {3: (17,), 4: (5, 5), 5: (3, 3, 3)}
_USUAL: Final = usual_eps("float32")
_EPS: Final = (_USUAL, 1e-5, 1e-3, 0.5, 1e-8)
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
    **dict.fromkeys(GRADIENT_REQUIREMENTS, ("gradients",)),
    "GN-22": ("groups = C",), "GN-23": ("groups = 1",),
    "BN-26": ("new statistics",), "BN-05": ("momentum None",), "BN-08": ("untracked",),
    "BN-14": ("several steps",), "BN-15": ("eval", "several steps"),
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """What plans may be drawn for one implementation at one dtype.

    ``pool`` holds the only (shape, groups) that a compiling framework is asked; empty means any.
    ``settled`` names features that are left out. ``cases`` counts those of a plan.
    """

    layer: str
    dtype: str
    ranks: tuple[int, ...]
    pool: tuple[tuple[tuple[int, ...], int], ...] = ()
    settled: Collection[str] = field(default_factory=frozenset)
    cases: int = CASES_A_PLAN


def settled_by(diverging: Collection[str]) -> frozenset[str]:
    """The features that these diverging requirements have settled."""
    return frozenset(feature for number in diverging for feature in _SETTLED.get(number, ()))


def plans(space: Space) -> st.SearchStrategy[Plan]:
    """A plan of ``space``; simpler ones come first, for Hypothesis to shrink towards.

    The parts are made once: Hypothesis checks every strategy that is new to it, which costs more than to draw.
    """
    pool = [(shape, groups) for shape, groups in space.pool if _fits(space, shape, groups)]
    shapes = st.sampled_from(pool) if pool else _shapes(space)
    regimes = st.sampled_from([name for name in REGIMES if name not in space.settled])
    parts = st.just((True, True)) if "no affine parts" in space.settled else _AFFINE
    relations = st.sampled_from([one for one in _RELATED[space.layer] if one not in space.settled])
    settings = st.just({"modes": ("train",)}) if space.layer == "group_norm" else _batch_settings(space)
    epsilons = st.sampled_from([eps for eps in _EPS if eps >= _USUAL] if "small eps" in space.settled else _EPS)

    @st.composite
    def plan(draw: st.DrawFn) -> Plan:
        shape, groups = draw(shapes)
        regime = draw(regimes)
        weight, bias = draw(parts)
        relation = draw(relations)
        if relation == "groups = C" and not ("one value" in space.settled and set(shape[2:]) <= {1}):
            groups = shape[1]
        if relation == "groups = 1" and "no affine parts" not in space.settled:
            groups, weight, bias = 1, False, False
        given: Mapping[str, Any] = draw(settings)
        seed, eps = draw(_SEEDS), draw(epsilons)
        # One plan in four, without a choice of its own: every other plan is then the same with gradients and without.
        differentiated = "gradients" not in space.settled and relation is None and seed % 4 == 3
        return Plan(
            space.layer, space.dtype, shape, groups, regime, seed, eps, weight, bias,
            relation=relation, differentiated=differentiated, cases=space.cases, **given,
        )  # fmt: skip

    return plan()


_SEEDS: Final = st.integers(0, 2**16)
#: Both parts or none most often: a part alone is what many have no way to be asked.
_AFFINE: Final = st.sampled_from(
    [(False, False), (True, True), (True, True), (False, False), (True, False), (False, True)]
)
_SAMPLES: Final = st.integers(1, 4)
_GROUPS: Final = st.integers(1, 6)
_GROUP_SIZES: Final = st.integers(1, 4)
_CHANNELS: Final = st.integers(1, 8)
_SPATIAL: Final = {rank: st.tuples(*(st.integers(1, most) for most in extents)) for rank, extents in _EXTENTS.items()}


def _fits(space: Space, shape: tuple[int, ...], groups: int) -> bool:
    """Whether a shape asks nothing that is settled."""
    values = math.prod(shape[1:]) // groups if space.layer == "group_norm" else math.prod(shape) // shape[1]
    several = "several samples" in space.settled and shape[0] > 1
    return not several and not ("one value" in space.settled and values == 1)


def _shapes(space: Space) -> st.SearchStrategy[tuple[tuple[int, ...], int]]:
    ranks = st.sampled_from(sorted(space.ranks))

    @st.composite
    def shape(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
        rank = draw(ranks)
        spatial = draw(_SPATIAL[rank]) if rank in _SPATIAL else ()
        samples = 1 if "several samples" in space.settled else draw(_SAMPLES)
        if space.layer == "group_norm":
            groups, size = draw(_GROUPS), draw(_GROUP_SIZES)
            if "one value" in space.settled and size == 1 and set(spatial) <= {1}:
                size = 2
            return (samples, groups * size, *spatial), groups
        if "one value" in space.settled and samples == 1 and set(spatial) <= {1}:
            samples = 2
        return (samples, draw(_CHANNELS), *spatial), 1

    return shape()


def _batch_settings(space: Space) -> st.SearchStrategy[dict[str, Any]]:
    modes = ("train",) if "eval" in space.settled else ("train", "eval")
    counts = (1,) if "several steps" in space.settled else (1, 2, 3)
    # Every number of steps is as likely as another.
    share = len(modes) ** counts[-1]
    steps = st.sampled_from(
        [taken for n in counts for taken in itertools.product(modes, repeat=n) for _ in range(share // len(modes) ** n)]
    )
    tracks = st.sampled_from([True] if "untracked" in space.settled else [True, True, True, False])
    momenta: Sequence[float | None] = _MOMENTA
    if "momentum of many digits" in space.settled:
        momenta = [one for one in _MOMENTA if one * 4 == int(one * 4)]
    if "momentum None" not in space.settled:
        momenta = [*momenta, None]
    momentum = st.sampled_from(momenta)
    given = st.sampled_from([True] if "new statistics" in space.settled else [False, True])

    @st.composite
    def settings(draw: st.DrawFn) -> dict[str, Any]:
        track = draw(tracks)
        statistics = track and draw(given)
        return {"modes": draw(steps), "momentum": draw(momentum), "track": track, "statistics": statistics}

    return settings()
