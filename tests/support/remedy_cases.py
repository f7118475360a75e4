"""The cases on which remedies are tried: those of the requirement, and others from a seed."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Step
from normgauge.conformance.layers.experiments import probes, with_equal_samples
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.case_files import promoted_cases
from normgauge.conformance.requirements.committed_cases import promoted_probes
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import QUANTITIES, Probe

Random = np.random.Generator


#: What a remedy is about: training steps of one batch size, eval from given statistics, or a mean that stays.
Only = Literal["", "training", "eval", "one mean"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """For which remedy and which layer cases are made; all kinds of them, or ``only`` some."""

    kind: str
    key: str
    dtype: str
    ranks: tuple[int, ...]
    only: Only = ""
    equal_samples: bool = False


def cases_of(wish: Wish, seeds: Iterable[int], most: int | None = None) -> Iterator[tuple[str, Case, tuple[str, ...]]]:
    """Cases with their labels and the quantities that are compared: ``most`` of the requirement, one for each seed."""
    if not wish.only:
        for probe in itertools.islice(_own(wish), most):
            yield probe.label, probe.case, probe.quantities
    quantities = ("trainable",) if wish.key == "BN-31" else QUANTITIES  # what freezing does else is BN-29
    for seed in seeds:
        case = generated(wish, seed)
        yield f"seed {seed}", with_equal_samples(case) if wish.equal_samples else case, quantities


def _own(wish: Wish) -> Iterator[Probe]:
    """The probes of the requirement."""
    if wish.key in {"GN-21", "BN-25"}:
        yield from promoted_probes(wish.kind, wish.dtype, wish.ranks, promoted_cases())
    for probe in probes(wish.kind, wish.dtype, wish.ranks, equal_samples=wish.equal_samples):
        if probe.requirement in _requirements(wish) and probe.measures is None:
            yield probe


def _requirements(wish: Wish) -> tuple[str, ...]:
    axis, is_axis, _ = wish.key.partition("=")
    if is_axis:
        return tuple(one.id for one in kind_of(wish.kind).requirements if one.axis == axis)
    return (wish.key,)


def generated(wish: Wish, seed: int) -> Case:
    """A case of several steps, every second one of a layer with given parameters and statistics."""
    random = np.random.default_rng([seed, zlib.crc32(wish.key.encode())])
    rank = wish.ranks[seed % len(wish.ranks)]
    groups, per_group = int(random.choice([1, 2, 4])), int(random.choice([2, 3, 4]))
    if wish.key.startswith(("grouping", "GN-18")):
        groups = max(groups, 2)
    channels = groups * per_group
    settings: dict[str, Any] = {"num_channels": channels, "eps": MAGNITUDES[wish.dtype].usual_eps * 2.0 ** (seed % 4)}
    if wish.kind == "group_norm":
        settings["num_groups"] = groups
    else:
        settings["momentum"] = (0.1, 0.25, 0.7, 0.01)[seed % 4]
    # Exact in float32: where float64 is computed in it, a weight that is asked for is the one that was given.
    parameters = {name: cast(random.normal(mean, 0.5, channels), "float32") for name, mean in _AFFINE.items()}
    # A layer for float64 may make its own statistics in float32 (BN-26).
    if wish.kind == "batch_norm" and (seed % 2 or wish.only == "eval" or wish.dtype == "float64"):
        parameters["running_mean"] = cast(random.normal(0.0, 2.0, channels), "float32")
        parameters["running_var"] = cast(random.uniform(0.2, 4.0, channels), "float32")
    plain = Case(
        layer=wish.kind,
        dtype=wish.dtype,
        settings=settings,
        parameters={name: cast(value, wish.dtype) for name, value in parameters.items()},
        steps=tuple(_steps(wish, random, rank, channels)),
    )
    special = _far_away_at_one_place if wish.only == "one mean" else _SPECIAL.get(wish.key, _as_it_is)
    return special(plain, random)


_ONE_MODE: Final = {"training": "train", "eval": "eval"}
_AFFINE: Final = {"weight": 1.0, "bias": 0.0}


def _steps(wish: Wish, random: Random, rank: int, channels: int) -> Iterator[Step]:
    modes = ("train", "eval") if wish.kind == "group_norm" else ("train", "train", "eval", "train")
    if wish.only in _ONE_MODE:
        modes = (_ONE_MODE[wish.only],) * 4
    extents = tuple(int(random.integers(2, 6)) for _ in range(rank - 2))
    samples = int(random.integers(2, 5))
    for number, mode in enumerate(modes):
        n = samples if wish.only or wish.kind == "group_norm" else samples + number % 2
        shape = (n, channels, *extents)
        x = _values(random, shape)
        dy = cast(random.normal(0.5, 1.0, shape), wish.dtype) if number == 1 else None
        yield Step(mode, cast(x, wish.dtype), dy)


def _values(random: Random, shape: tuple[int, ...]) -> Array:
    """Channels with means and deviations of their own."""
    own = (1, shape[1], *(1,) * (len(shape) - 2))
    return random.normal(0.0, 1.0, shape) * random.uniform(0.3, 3.0, own) + random.normal(0.0, 1.0, own)


def _as_it_is(case: Case, random: Random) -> Case:
    return case


def _without_momentum(case: Case, random: Random) -> Case:
    return replace(case, settings={**case.settings, "momentum": None})


def _with_one_value(case: Case, random: Random) -> Case:
    """The last step has one value per channel."""
    step = case.steps[-1]
    x = step.x[(slice(0, 1), slice(None), *(slice(0, 1),) * (step.x.ndim - 2))]
    return replace(case, steps=(*case.steps[:-1], Step("train", x)))


def _with_one_sample(case: Case, random: Random) -> Case:
    """Samples one by one, of one value per group."""
    channels = case.settings["num_channels"]
    steps = []
    for step in case.steps:
        one = (slice(0, 1), slice(None), *(slice(0, 1),) * (step.x.ndim - 2))
        steps.append(Step(step.mode, step.x[one], None if step.dy is None else step.dy[one]))
    return replace(case, settings={**case.settings, "num_groups": channels}, steps=tuple(steps))


def _with_an_empty_step(axis: int, *, backward: bool) -> Callable[[Case, Random], Case]:
    def changed(case: Case, random: Random) -> Case:
        """An empty step between the others."""
        step = case.steps[0]
        shape = list(step.x.shape)
        shape[axis if axis < 0 and len(shape) > 2 else 0] = 0
        empty = np.zeros(shape, dtype=step.x.dtype)
        mode = str(random.choice(["train", "eval"]))
        return replace(case, steps=(step, Step(mode, empty, empty if backward else None), *case.steps[1:]))

    return changed


def _with_an_empty_step_anywhere(case: Case, random: Random) -> Case:
    return _with_an_empty_step(int(random.choice([0, -1])), backward=True)(case, random)


def _with_other_channels(case: Case, random: Random) -> Case:
    """The last step has one channel, or twice as many."""
    step = case.steps[-1]
    x = step.x[:, :1] if random.integers(2) else np.concatenate([step.x, step.x], axis=1)
    return replace(case, steps=(*case.steps[:-1], Step(step.mode, x)))


def _with_eps(eps: float) -> Callable[[Case, Random], Case]:
    return lambda case, random: replace(case, settings={**case.settings, "eps": eps})


def _constant(case: Case, random: Random) -> Case:
    """Constant inputs at an eps that is nothing in half precision."""
    eps, value = float(random.choice([1e-8, 1e-9, 1e-12])), cast(random.normal(0.0, 10.0), case.dtype)
    steps = tuple(replace(step, x=np.full_like(step.x, value)) for step in case.steps)
    return replace(case, settings={**case.settings, "eps": eps}, steps=steps)


def _far_away(case: Case, random: Random) -> Case:
    """Means of thousands of deviations, another one for each step."""
    digits = {"float64": 20}.get(case.dtype, 14)
    steps = []
    for step in case.steps:
        mean = 2.0 ** random.uniform(4, digits) * random.choice([-1, 1])
        steps.append(replace(step, x=cast(step.x.astype(np.float64) + mean, case.dtype)))
    return replace(case, steps=tuple(steps))


def _far_away_at_one_place(case: Case, random: Random) -> Case:
    """The same mean of thousands of deviations in every step."""
    mean = 2.0 ** random.uniform(4, {"float64": 20}.get(case.dtype, 14)) * random.choice([-1, 1])
    steps = (replace(step, x=cast(step.x.astype(np.float64) + mean, case.dtype)) for step in case.steps)
    return replace(case, steps=tuple(steps))


def _long(case: Case, random: Random) -> Case:
    """Tens of thousands of values in a set, with a mean."""
    channels, rank = case.settings["num_channels"], case.steps[0].x.ndim
    n = int(random.integers(5000, 20000))
    shape = (2, channels, n, *(1,) * (rank - 3)) if rank > 2 else (2 * n, channels)
    x = cast(random.normal(0.7, 1.0, shape), case.dtype)
    return replace(case, steps=(Step("train", x),))


def _at_the_end_of_the_range(case: Case, random: Random) -> Case:
    power = MAGNITUDES[case.dtype].large if random.integers(2) else MAGNITUDES[case.dtype].subnormal
    steps = tuple(
        replace(step, x=cast(np.clip(step.x.astype(np.float64) * 2.0 ** (power - 2), -6e4, 6e4), case.dtype), dy=None)
        for step in case.steps
    )
    return replace(case, steps=steps)


def _flat(case: Case, random: Random) -> Case:
    """Inputs without positions."""
    steps = []
    for step in case.steps:
        first: tuple[Any, ...] = (slice(None), slice(None), *(0,) * (step.x.ndim - 2))
        steps.append(replace(step, x=step.x[first], dy=None if step.dy is None else step.dy[first]))
    return replace(case, steps=tuple(steps))


def _as_instance_norm(case: Case, random: Random) -> Case:
    """A group a channel."""
    return replace(case, settings={**case.settings, "num_groups": case.settings["num_channels"]})


def _as_layer_norm(case: Case, random: Random) -> Case:
    """One group, without positions."""
    return _flat(replace(case, settings={**case.settings, "num_groups": 1}), random)


def _new(case: Case, random: Random) -> Case:
    """A new layer, whose running statistics nobody has given it."""
    kept = {name: value for name, value in case.parameters.items() if not name.startswith("running_")}
    return replace(case, parameters=kept)


def _new_in_eval(case: Case, random: Random) -> Case:
    """A new layer that is evaluated before it was trained, and after."""
    case = _new(case, random)
    return replace(case, steps=(replace(case.steps[0], mode="eval"), *case.steps[1:]))


def _acting(*actions: str, mode: str = "") -> Callable[[Case, Random], Case]:
    def changed(case: Case, random: Random) -> Case:
        """Something is done to the layer before two of the steps; what is trainable is asked for after all."""
        before = [actions[: 1 + int(random.integers(len(actions)))], (), actions, ()]
        steps = (
            replace(
                step,
                x=case.steps[0].x,
                dy=None,
                mode=mode or step.mode,
                before=tuple(Action(name) for name in own),
                inspect=True,
            )
            for step, own in zip(case.steps, before, strict=True)
        )
        return replace(case, steps=tuple(steps))

    return changed


def _momentum_set(case: Case, random: Random) -> Case:
    """Another momentum before the third step."""
    first, second, third, last = (replace(step, dy=None) for step in case.steps)
    before = (Action("momentum", float(random.uniform(0.05, 0.95))),)
    return replace(case, steps=(first, second, replace(third, before=before), last))


def _averaged_with_an_empty_step(case: Case, random: Random) -> Case:
    """Plain averages, of which one would be that of a batch without values."""
    emptied = _with_an_empty_step(int(random.choice([0, -1])), backward=False)
    return _without_momentum(emptied(case, random), random)


#: What is made of a case for what a remedy is about.
_SPECIAL: Final[Mapping[str, Callable[[Case, Random], Case]]] = {
    **dict.fromkeys(("momentum_none=fixed", "momentum_none=refused"), _without_momentum),
    **dict.fromkeys(("single_value=shift", "single_value=nan", "single_value=identity"), _with_one_value),
    "GN-11": _with_one_sample,
    **dict.fromkeys(("GN-12", "GN-21", "BN-17", "BN-25", "accuracy=one_pass"), _far_away),
    "GN-22": _as_instance_norm,
    "GN-23": _as_layer_norm,
    "BN-12": _flat,
    **dict.fromkeys(("GN-13", "BN-18"), _with_an_empty_step(0, backward=False)),
    **dict.fromkeys(("GN-14", "BN-19"), _with_an_empty_step(-1, backward=False)),
    "BN-48": _averaged_with_an_empty_step,
    **dict.fromkeys(("GN-31", "BN-40"), _with_an_empty_step_anywhere),
    **dict.fromkeys(("GN-16", "BN-20"), _with_other_channels),
    **dict.fromkeys(("GN-24", "BN-32"), _long),
    "BN-24": _new_in_eval,
    "BN-26": _new,
    **dict.fromkeys(("GN-30", "BN-39"), _at_the_end_of_the_range),
    **dict.fromkeys(("GN-32", "BN-41"), _with_eps(0.0)),
    **dict.fromkeys(("GN-35", "BN-45"), _constant),
    "BN-28": _acting("save_load", mode="train"),
    "BN-29": _acting("freeze", mode="train"),
    "BN-30": _momentum_set,
    "BN-31": _acting("freeze_model", "unfreeze_model"),
}
