"""Exploration of what a BatchNorm keeps: sequences of calls that train, evaluate, reset, save and freeze.

Hypothesis draws the calls, each with what is done to the layer before it; the whole sequence is one case, on one living
layer, and every step of it is held to the oracle: the output, the running statistics, the parameters, and what is
trainable. What is drawn depends on no result, so it needs no state machine, which takes ten times as long to draw it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from normgauge.adapters.case import ACTIONS, Action, Array, Case, Step
from normgauge.conformance.exploration.departure import SEED_STEP, Data, Departure, Stop, first_departure
from normgauge.conformance.exploration.search import Explorer, Tally, signature_of
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.requirements.inputs import SPATIAL, cast
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.signature import CALLS

#: Calls that one sequence may have.
LONGEST: Final = 6
#: Multiples of 1/8, never 1/2, with which weighing the new and weighing the old are the same.
_MOMENTA: Final = (0.25, 0.75, 0.125, 1.0, 0.0)
_MOMENTUM: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What sequences may be drawn for one implementation at one dtype.

    ``shapes`` are those that a compiling framework knows, alike in their channels; empty means any.
    """

    layer: str
    dtype: str
    ranks: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    actions: tuple[str, ...] = ()
    evaluates: bool = True
    averages: bool = True
    new_statistics: bool = True
    inspects: bool = True

    @classmethod
    def of(
        cls,
        kind: LayerKind,
        dtype: str,
        ranks: tuple[int, ...],
        shapes: Sequence[tuple[int, ...]],
        drawable: Collection[str],
    ) -> Calls | None:
        """Those that may have what is ``drawable``; None where there is nothing to find.

        A layer that keeps nothing from call to call has no requirement that allows several.
        """
        if "several calls" not in drawable:
            return None
        inspects, new = "inspect" in drawable, "new statistics" in drawable
        actions = [name for name in ACTIONS if name in drawable and (inspects or "freeze" not in name)]
        if not new:  # what is reset or loaded is a new layer's
            actions = [name for name in actions if name not in {"reset", "save_load"}]
        evaluates, averages = "eval" in drawable, "momentum None" in drawable
        return cls(
            layer=kind.name,
            dtype=dtype,
            ranks=ranks,
            shapes=_alike(shapes),
            actions=tuple(actions),
            evaluates=evaluates,
            averages=averages,
            new_statistics=new,
            inspects=inspects,
        )


def _alike(shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The shapes with several values a channel that have the most common rank and channel count."""
    several = [shape for shape in shapes if math.prod(shape) > shape[1]]
    kinds = [(len(shape), shape[1]) for shape in several]
    most = max(sorted(set(kinds)), key=kinds.count, default=None)
    return tuple(shape for shape, kind in zip(several, kinds, strict=True) if kind == most)


@dataclass(kw_only=True)
class SequenceSearch:
    """The search for one implementation at one dtype; what is known already is in ``explorer``."""

    explorer: Explorer
    calls: Calls | None
    tally: Tally = field(default_factory=Tally)
    steps: int = 0

    def search(self, budget: int, seed: int) -> Iterator[Departure]:
        """The departures found within ``budget`` steps, each shrunk and unlike the others."""
        if self.calls is None:
            return
        explorer, seeds = self.explorer, itertools.count(seed, SEED_STEP)
        explorer.subject.begin()

        def shown(case: Case, last: Departure | None) -> list[Departure]:
            if explorer.subject.given_up or (last is None and self.steps >= budget):
                raise Stop
            return self._departures(case, last)

        while self.steps < budget:
            most = budget - self.steps
            departure = first_departure(sequences(self.calls), most, next(seeds), shown, explorer.is_known)
            if departure is None:
                return
            if departure.observation.died:
                explorer.subject.begin()
            if not explorer.is_known(departure.signature):
                departure = _named(explorer.made_small(departure))
                explorer.known.add(departure.signature)
                yield departure
            elif departure.observation.died:
                return  # every further death would cost a worker

    def _departures(self, case: Case, last: Departure | None) -> list[Departure]:
        """What departs in one sequence; only sequences from before a ``last`` departure count as tried."""
        if last is None:
            self.steps += len(case.steps) + sum(len(step.before) for step in case.steps)
            self.tally.plans += 1
        case = self.explorer.asked(case)
        found = self.explorer.departure(case, told(case), data_of(case), Tally() if last else self.tally)
        if found is None or (last is not None and not found.is_like(last)):
            return []
        self.tally.known += not found.observation.died and self.explorer.is_known(found.signature)
        return [found]


def _named(small: Departure) -> Departure:
    """The departure told as the smaller sequence that shows it."""
    if small.kind == "crash":
        return small
    signature = signature_of(small.deviation, data_of(small.case)) if small.kind == "values" else small.signature
    return replace(small, plan=told(small.case), signature=signature)


def told(case: Case) -> str:
    """The sequence in words."""
    calls = [", ".join([*map(str, step.before), f"{step.mode} {step.x.shape}"]) for step in case.steps]
    return f"momentum={case.settings['momentum']}, {', '.join(calls)}"


def data_of(case: Case) -> Data:
    """What a signature says of the case: what is done between the calls."""
    return CALLS, tuple(sorted({action.name for step in case.steps for action in step.before}))


def sequences(calls: Calls) -> st.SearchStrategy[Case]:
    """Sequences out of ``calls``, each as one case; simpler ones come first, for Hypothesis to shrink towards."""
    momenta = [*_MOMENTA, *([None] if calls.averages else [])]
    # Each other action about as often as all momenta together: few draws of few choices, so that drawing costs little.
    actions = [Action(name) for name in calls.actions if name != "momentum"] * 2
    actions += [Action("momentum", momentum) for momentum in momenta if "momentum" in calls.actions]
    between = st.lists(st.sampled_from(actions), max_size=3).map(tuple) if actions else st.just(())
    shapes = {rank: calls.shapes or _shapes(rank) for rank in calls.ranks}
    places = st.integers(0, max(map(len, shapes.values())) - 1)
    modes = st.sampled_from(("train", "eval") if calls.evaluates else ("train",))
    taken = st.lists(st.tuples(modes, places, between, st.integers(0, 2**16)), min_size=1, max_size=LONGEST)
    ranks = st.sampled_from(sorted(calls.ranks))
    channels = st.just(calls.shapes[0][1]) if calls.shapes else st.integers(1, 4)
    momentum = st.sampled_from([_MOMENTUM, *momenta[2:]])
    new = st.sampled_from([True, False] if calls.new_statistics else [False])

    @st.composite
    def sequence(draw: st.DrawFn) -> Case:
        known, count = shapes[draw(ranks)], draw(channels)
        settings = {"num_channels": count, "eps": MAGNITUDES[calls.dtype].usual_eps, "momentum": draw(momentum)}
        parameters = {} if draw(new) else _parameters(count, calls.dtype)
        steps = []
        for mode, place, acted, seed in draw(taken):
            samples, _, *spatial = known[place % len(known)]
            before = tuple(_with_values(action, count, calls.dtype, seed) for action in acted)
            x = np.random.default_rng(seed).integers(-16, 17, (samples, count, *spatial)) / 8
            steps.append(Step(mode, cast(x, calls.dtype), before=before, inspect=calls.inspects))
        return Case(layer=calls.layer, dtype=calls.dtype, settings=settings, parameters=parameters, steps=tuple(steps))

    return sequence()


def _shapes(rank: int) -> tuple[tuple[int, ...], ...]:
    """One to four samples, few positions, more than one value a channel; the smallest first. The channels are open."""
    extents = itertools.product(range(1, 5), *(range(1, 2 * n + 1) for n in SPATIAL[rank]))
    shapes = [(samples, 1, *spatial) for samples, *spatial in extents if samples * math.prod(spatial) > 1]
    return tuple(sorted(shapes, key=lambda shape: (math.prod(shape), shape[::-1])))


def _parameters(channels: int, dtype: str) -> dict[str, Array]:
    """Multiples of 1/8, unlike from channel to channel."""
    index = np.arange(channels)
    values: dict[str, Any] = {
        "weight": 0.5 + index / 8,
        "bias": (index - 2) / 4,
        "running_mean": index / 8 - 0.25,
        "running_var": 1.25 + index / 4,
    }
    return {name: cast(value, dtype) for name, value in values.items()}


def _with_values(action: Action, channels: int, dtype: str, seed: int) -> Action:
    """The action; one that sets parameters with values that a layer does not begin with: multiples of 1/8 again."""
    if action.name != "set_parameters":
        return action
    shift = 1 + seed % 8
    new = {name: cast(value + shift / 8, dtype) for name, value in _parameters(channels, dtype).items()}
    return replace(action, parameters=new)
