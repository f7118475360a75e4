"""The Hypothesis strategies for plans: shapes, settings and regimes that an implementation can be asked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.memory_layouts import LAYOUTS
from normgauge.conformance.exploration.plans import CASES_A_PLAN, REGIMES, Plan
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.parameter_types import OTHER_TYPE
from normgauge.conformance.verdicts.relations import RELATIONS

#: Positions for each rank are drawn within these, so that a case stays small.
_EXTENTS: Final[Mapping[int, tuple[int, ...]]] = {3: (17,), 4: (5, 5), 5: (3, 3, 3)}
_EPS: Final = (1e-5, 1e-3, 0.5, 1e-8)
_MOMENTA: Final = (0.25, 0.1, 0.9, 0.01, 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What plans may be drawn for one implementation at one dtype.

    ``pool`` holds the only (shape, groups) that a compiling framework is asked; empty means any.
    ``settled`` names features that are left out, ``drawable`` those that are drawn where they are there, and not
    otherwise: ``layouts``, ``another_layer``, ``parameter_types``. ``cases`` counts those of a plan.
    """

    layer: str
    dtype: str
    ranks: tuple[int, ...]
    pool: tuple[tuple[tuple[int, ...], int], ...] = ()
    settled: Collection[str] = field(default_factory=frozenset)
    drawable: Collection[str] = field(default_factory=frozenset)
    cases: int = CASES_A_PLAN


def settled_by(diverging: Collection[str]) -> frozenset[str]:
    """The features that these diverging requirements have settled."""
    return frozenset(feature for number in diverging for feature in requirements()[number].settles)


def drawable(kind: LayerKind, dtype: str, conforming: Collection[str]) -> set[str]:
    """The features that every requirement that allows them conforms to, where ``conforming`` has those that do."""
    asked = [one for one in kind.requirements if dtype in one.dtypes]
    allowed = {feature for one in asked for feature in one.allows}
    return allowed - {feature for one in asked if one.id not in conforming for feature in one.allows}


def _related(layer: str) -> list[str | None]:
    """The relations of a kind of layer, and None for half of the plans: then all cases are apart."""
    names = [one.name for one in RELATIONS if one.name in kind_of(layer).relations]
    return [None] * max(len(names), 1) + names


def plans(space: Space) -> st.SearchStrategy[Plan]:
    """A plan of ``space``; simpler ones come first, for Hypothesis to shrink towards.

    The parts are made once: Hypothesis checks every strategy that is new to it, which costs more than to draw.
    """
    pool = [(shape, groups) for shape, groups in space.pool if _fits(space, shape, groups)]
    shapes = st.sampled_from(pool) if pool else _shapes(space)
    regimes = st.sampled_from([name for name in REGIMES if name not in space.settled])
    parts = st.just((True, True)) if "no affine parts" in space.settled else _AFFINE
    relations = st.sampled_from([one for one in _related(space.layer) if one not in space.settled])
    settings = _tracking(space) if kind_of(space.layer).tracks else st.just({"modes": ("train",)})
    layouts = st.sampled_from(_LAYOUTS if "layouts" in space.drawable else [""])
    besides = st.sampled_from(_BESIDE if "another_layer" in space.drawable else [False])
    epsilons = st.sampled_from(_epsilons(space))

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
        if not given.get("track", True) and kind_of(space.layer).values_per_set(shape, groups) == 1:
            given = {
                **given,
                "track": True,
            }  # whether eval refuses one value, too, where nothing is tracked, nobody says
        seed, eps = draw(_SEEDS), draw(epsilons)
        large = not pool and "large sizes" not in space.settled and _is_large(seed)
        if large:
            grown = _grown(shape, seed, space)
            shape, groups = grown, grown[1] if groups == shape[1] else groups
        # One plan in four, without a choice of its own: every other plan is then the same with gradients and without.
        differentiated = "gradients" not in space.settled and relation is None and seed % 4 == 3
        layout, dy_layout, beside = ("", "", False) if relation else (draw(layouts), draw(layouts), draw(besides))
        return Plan(
            layer=space.layer,
            dtype=space.dtype,
            shape=shape,
            groups=groups,
            regime=regime,
            seed=seed,
            eps=eps,
            weight=weight,
            bias=bias,
            relation=relation,
            differentiated=differentiated,
            layout=layout,
            dy_layout=dy_layout if differentiated else "",
            beside=beside and kind_of(space.layer).values_per_set(shape, groups) > 1,  # the other one is trained
            parameters=_other_type(space, seed) if (weight or bias) and not relation else "",
            cases=min(space.cases, CASES_OF_LARGE) if large else space.cases,
            **given,
        )

    return plan()


def _epsilons(space: Space) -> list[float]:
    """Those that the type holds with all of its digits, its usual one first."""
    magnitudes = MAGNITUDES[space.dtype]
    held = dict.fromkeys((magnitudes.usual_eps, *_EPS))
    least = magnitudes.usual_eps if "small eps" in space.settled else 2.0**magnitudes.dtype.least_exponent
    return [eps for eps in held if eps >= least]


def _other_type(space: Space, seed: int) -> str:
    """That of the parameters in some plans, without a choice of its own either; else empty.

    In half precision half of the plans have it, with gradients and without. Elsewhere one in four has, without: the
    other type is narrower there, and what it holds of a parameter's gradient is no question about the layer.
    """
    drawn = seed % 8 < 4 if KNOWN_DTYPES[space.dtype].half else seed % 4 == 2
    return OTHER_TYPE[space.dtype] if drawn and "parameter_types" in space.drawable else ""


def _is_large(seed: int) -> bool:
    """One plan in 21, without a choice of its own: the others are then the same with large sizes and without."""
    return seed % 32 == 5 or seed % 64 == 7  # one in three of these is differentiated


def _grown(shape: tuple[int, ...], seed: int, space: Space) -> tuple[int, ...]:
    """``shape`` with one dimension grown so that the elements are about a number drawn on a logarithmic scale.

    The dimension and the number follow from the seed: positions most often, samples, channels of each group.
    """
    number = seed // 64
    elements = LARGE[0] * (LARGE[1] / LARGE[0]) ** (number % _STEPS / (_STEPS - 1))
    factor = max(1, round(elements / math.prod(shape)))
    axis = (len(shape) - 1, len(shape) - 1, 0, 1)[number // _STEPS % 4]
    if axis == 0 and "several samples" in space.settled:
        axis = len(shape) - 1
    # One more or less than a multiple is what kernels lose; channels stay multiples of the groups.
    odd = 0 if axis == 1 else seed % 3 - 1
    grown = max(shape[axis], shape[axis] * factor + odd)
    return (*shape[:axis], grown, *shape[axis + 1 :])


#: The least and the most elements of a large input, and the steps between them.
LARGE: Final = (2**7, 10**5)
_STEPS: Final = 61
#: Cases of a plan whose inputs are large.
CASES_OF_LARGE: Final = 2


#: Most arrays lie in the order of their indices, and most layers are alone; Hypothesis shrinks towards that.
_LAYOUTS: Final = [""] * len(LAYOUTS) + [*LAYOUTS]
_BESIDE: Final = [False, False, False, True]


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
    several = "several samples" in space.settled and shape[0] > 1
    one_value = kind_of(space.layer).values_per_set(shape, groups) == 1
    return not several and not ("one value" in space.settled and one_value)


def _shapes(space: Space) -> st.SearchStrategy[tuple[tuple[int, ...], int]]:
    ranks = st.sampled_from(sorted(space.ranks))

    kind = kind_of(space.layer)

    @st.composite
    def shape(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
        rank = draw(ranks)
        spatial = draw(_SPATIAL[rank]) if rank in _SPATIAL else ()
        samples = 1 if "several samples" in space.settled else draw(_SAMPLES)
        groups = draw(_GROUPS) if kind.grouped else 1
        if "one value" in space.settled and kind.across_samples and samples == 1 and set(spatial) <= {1}:
            samples = 2
        size = draw(_GROUP_SIZES if kind.grouped else _CHANNELS)
        if "one value" in space.settled and not kind.across_samples and size == 1 and set(spatial) <= {1}:
            size = 2
        return (samples, groups * size, *spatial), groups

    return shape()


def _tracking(space: Space) -> st.SearchStrategy[dict[str, Any]]:
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
