"""GroupNorm and BatchNorm in plain formulas, with numbers of 60 digits: every choice on every axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import mpmath

MP: Final = mpmath.mp.clone()
MP.dps = 60
NAN: Final = MP.mpf("nan")

Values = list[Any]


class Refused(Exception):
    """The semantics refuse the call."""


@dataclass(frozen=True, kw_only=True)
class Step:
    mode: str
    shape: tuple[int, ...]
    x: Values
    dy: Values | None = None
    before: tuple[str, ...] = ()
    sets: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Written:
    """The inputs of an example: parameters by name, and the steps."""

    parameters: Mapping[str, Values]
    steps: Sequence[Step]


def reciprocal(var: Any, eps: Any, placement: str) -> Any:
    """1 / deviation."""
    if placement == "outside_sqrt":
        below = root(var) + eps
    else:
        below = root(var + eps if placement == "inside_sqrt" else max(var, eps))
    return 1 / below if below != 0 else MP.inf


def slope(var: Any, eps: Any, placement: str) -> Any:
    """The derivative of the reciprocal deviation by the variance."""
    if placement == "inside_sqrt":
        return -(reciprocal(var, eps, placement) ** 3) / 2
    if placement == "outside_sqrt":
        return -1 / (2 * root(var) * (root(var) + eps) ** 2) if var > 0 else NAN
    return -(reciprocal(var, eps, placement) ** 3) / 2 if var >= eps else MP.zero


def root(value: Any) -> Any:
    return MP.sqrt(value) if value >= 0 or MP.isnan(value) else NAN


def mean_and_var(values: Values, divisor: int) -> tuple[Any, Any]:
    """The mean, and the sum of squared deviations over ``divisor``; NaN where that is 0."""
    n = len(values)
    mean = MP.fsum(values) / n
    squares = MP.fsum((value - mean) ** 2 for value in values)
    return mean, squares / divisor if divisor else NAN


@dataclass(frozen=True, kw_only=True)
class Used:
    """What normalises a set: mean and variance, and how these move with the mean and the variance of the set."""

    mean: Any
    var: Any
    mean_moves: Any = 0
    var_moves: Any = 0


def backward(x: Values, g: Values, used: Used, eps: Any, placement: str) -> Values:
    """d sum(g * x_hat) / dx over a set, by the chain rule; the variance of the set has the divisor n."""
    n, r = len(x), reciprocal(used.var, eps, placement)
    mean, _ = mean_and_var(x, n)
    by_mean = -r * MP.fsum(g) * used.mean_moves
    by_var = MP.zero
    if used.var_moves:
        by_var = slope(used.var, eps, placement) * used.var_moves
        by_var *= MP.fsum(one * (value - used.mean) for one, value in zip(g, x, strict=True))
    return [r * one + by_mean / n + by_var * 2 * (value - mean) / n for one, value in zip(g, x, strict=True)]


@dataclass(kw_only=True)
class Quantities:
    """What a step shows, each in C order."""

    output: Values
    dx: Values = field(default_factory=list)
    dweight: Values = field(default_factory=list)
    dbias: Values = field(default_factory=list)
    running_mean: Values | None = None
    running_var: Values | None = None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer by its settings and the choices on all axes."""

    settings: Mapping[str, Any]
    chosen: Mapping[str, str]
    weight: Values
    bias: Values

    @property
    def eps(self) -> Any:
        return MP.mpf(self.settings["eps"])

    def given(self, step: Step) -> Layer:
        """The layer with the weight and bias that are set before a step."""
        return replace(self, weight=step.sets.get("weight", self.weight), bias=step.sets.get("bias", self.bias))

    def normalised(self, step: Step, sets: Sequence[Sequence[int]], used: Sequence[Used], index: Sequence[int]) -> Any:
        """The step's output and gradients; ``index`` has for each element that of its weight and bias."""
        placement = self.chosen["eps_placement"]
        size, channels = len(step.x), len(self.weight)
        found = Quantities(output=[None] * size)
        if step.dy is not None:
            found.dx, found.dweight, found.dbias = [None] * size, [MP.zero] * channels, [MP.zero] * channels
        for places, its in zip(sets, used, strict=True):
            r = reciprocal(its.var, self.eps, placement)
            for i in places:
                x_hat = (step.x[i] - its.mean) * r
                found.output[i] = x_hat * self.weight[index[i]] + self.bias[index[i]]
                if step.dy is not None:
                    found.dweight[index[i]] += step.dy[i] * x_hat
                    found.dbias[index[i]] += step.dy[i]
            if step.dy is not None:
                g = [step.dy[i] * self.weight[index[i]] for i in places]
                own = backward([step.x[i] for i in places], g, its, self.eps, placement)
                for i, value in zip(places, own, strict=True):
                    found.dx[i] = value
        return found


def channel_of(shape: tuple[int, ...]) -> list[int]:
    """The channel of each element of (N, C, *spatial), in C order."""
    samples, channels, inner = shape[0], shape[1], math.prod(shape[2:])
    return [c for _ in range(samples) for c in range(channels) for _ in range(inner)]


def group_norm(case: Written, layer: Layer) -> Iterator[Quantities]:
    groups, channels = layer.settings["num_groups"], layer.settings["num_channels"]
    for step in case.steps:
        layer = layer.given(step)
        shape = step.shape if len(step.shape) > 1 else (1, *step.shape)
        if shape[1] != channels or channels % groups:
            raise Refused
        if not step.x:
            yield empty(step, channels)
            continue
        size = channels // groups
        interleaved = layer.chosen["grouping"] == "interleaved"
        group = [c % groups if interleaved else c // size for c in range(channels)]
        own = channel_of(shape)
        per_sample = len(own) // shape[0]
        sets: dict[tuple[int, int], list[int]] = {}
        for i, c in enumerate(own):
            sets.setdefault((i // per_sample, group[c]), []).append(i)
        index = [group[c] if layer.chosen["affine_shape"] == "per_group" else c for c in own]
        used = [of_the_set([step.x[i] for i in places], layer.chosen["variance"]) for places in sets.values()]
        yield layer.normalised(step, list(sets.values()), used, index)


def of_the_set(values: Values, divisor: str) -> Used:
    n = len(values)
    mean, var = mean_and_var(values, n if divisor == "biased" else n - 1)
    return Used(mean=mean, var=var, mean_moves=1, var_moves=factor(n, divisor))


def factor(n: int, divisor: str) -> Any:
    """What the variance with divisor n is multiplied by."""
    if divisor == "biased":
        return MP.one
    return MP.mpf(n) / (n - 1) if n > 1 else NAN


def empty(step: Step, channels: int) -> Quantities:
    none = [MP.zero] * channels
    return Quantities(output=[], dweight=none, dbias=none)


@dataclass(kw_only=True)
class State:
    """What a BatchNorm keeps: the statistics by channel, None where it tracks none, and after how many batches."""

    mean: Values | None
    var: Values | None
    momentum: float | None
    batches: int = 0

    def act(self, action: str, settings: Mapping[str, Any]) -> None:
        if action == "reset" and self.mean is not None and self.var is not None:
            self.mean, self.var, self.batches = [MP.zero] * len(self.mean), [MP.one] * len(self.var), 0
        elif action == "save load":
            self.momentum = settings["momentum"]
        elif action.startswith("momentum="):
            said = action.partition("=")[2]
            self.momentum = None if said == "None" else float(said)

    def weight(self, chosen: Mapping[str, str]) -> Any:
        """That of the next batch in the running statistics."""
        step = self.batches + 1
        if self.momentum is None:
            return MP.one / step if chosen["momentum_none"] == "cumulative" else MP.mpf(0.1)
        weight = MP.mpf(self.momentum) if chosen["momentum_weighs"] == "new" else 1 - MP.mpf(self.momentum)
        if chosen["bootstrap"] == "plain" or weight == 0:
            return weight
        if step == 1:
            return MP.one
        return weight / (1 - (1 - weight) ** step) if chosen["bootstrap"] == "zero_debiased" else weight


def batch_norm(case: Written, layer: Layer) -> Iterator[Quantities]:
    channels, settings = layer.settings["num_channels"], layer.settings
    tracks = settings.get("track", True)
    state = State(
        mean=case.parameters.get("running_mean", [MP.zero] * channels) if tracks else None,
        var=case.parameters.get("running_var", [MP.one] * channels) if tracks else None,
        momentum=settings["momentum"],
    )
    for step in case.steps:
        for action in step.before:
            state.act(action, settings)
        layer = layer.given(step)
        state.mean, state.var = step.sets.get("running_mean", state.mean), step.sets.get("running_var", state.var)
        shape = step.shape if len(step.shape) > 1 else (1, *step.shape)
        if shape[1] != channels:
            raise Refused
        found = batch_norm_step(replace(step, shape=shape), layer, state)
        found.running_mean, found.running_var = state.mean, state.var
        yield found


def batch_norm_step(step: Step, layer: Layer, state: State) -> Quantities:
    """One call, which changes the state."""
    chosen, training, channels = layer.chosen, step.mode == "train", len(layer.weight)
    if training and state.mean is not None and state.momentum is None and chosen["momentum_none"] == "refused":
        raise Refused
    single = chosen["single_value"] if training and len(step.x) == channels else ""
    if single == "refused":
        raise Refused
    if not step.x:
        return empty(step, channels)
    if single == "identity":
        none = [MP.zero] * channels
        return Quantities(output=step.x, dx=step.dy or [], dweight=none, dbias=none)
    index = channel_of(step.shape)
    sets = [[i for i, c in enumerate(index) if c == channel] for channel in range(channels)]
    batches = [[step.x[i] for i in places] for places in sets]
    weight = state.weight(chosen)
    updated = advanced(batches, state, weight, chosen) if training else state
    used = [
        in_use(values, (state, updated), weight, training, channel, chosen) for channel, values in enumerate(batches)
    ]
    found = layer.normalised(step, sets, used, index)
    if single == "nan":
        found.output, found.dx, found.dweight = ([NAN] * len(one) for one in (found.output, found.dx, found.dweight))
    state.mean, state.var, state.batches = updated.mean, updated.var, updated.batches
    return found


def advanced(batches: Sequence[Values], state: State, weight: Any, chosen: Mapping[str, str]) -> State:
    """The running statistics after a batch."""
    if state.mean is None or state.var is None or chosen["training_normalizes_with"] == "running":
        return state
    new = [mean_and_var(values, len(values) - (chosen["running_var"] == "unbiased")) for values in batches]

    def blended(old: Any, own: Any) -> Any:
        return own if weight == 1 else (1 - weight) * old + weight * own

    return State(
        mean=[blended(old, mean) for old, (mean, _) in zip(state.mean, new, strict=True)],
        var=[blended(old, var) for old, (_, var) in zip(state.var, new, strict=True)],
        momentum=state.momentum,
        batches=state.batches + 1,
    )


def in_use(
    values: Values, states: tuple[State, State], weight: Any, training: bool, channel: int, chosen: Mapping[str, str]
) -> Used:
    """What normalises a channel."""
    before, after = states
    if before.mean is None or before.var is None or after.mean is None or after.var is None:
        if not training and chosen["untracked_eval_uses"] == "initial":
            return Used(mean=MP.zero, var=MP.one)
        return of_the_set(values, "biased" if training and len(values) == 1 else chosen["variance"])
    source = chosen["training_normalizes_with"]
    if not training or source == "running":
        return Used(mean=before.mean[channel], var=before.var[channel])
    if source == "blended":
        moves = weight * factor(len(values), chosen["running_var"])
        return Used(mean=after.mean[channel], var=after.var[channel], mean_moves=weight, var_moves=moves)
    return of_the_set(values, "biased" if len(values) == 1 else chosen["variance"])


FORMULAS: Final = {"group_norm": group_norm, "batch_norm": batch_norm}
#: The canonical choices, as docs/verdicts.md has them.
CANONICAL: Final = {
    "group_norm": {
        "eps_placement": "inside_sqrt", "grouping": "contiguous", "variance": "biased", "affine_shape": "per_channel",
    },
    "batch_norm": {
        "eps_placement": "inside_sqrt", "variance": "biased", "running_var": "unbiased", "momentum_weighs": "new",
        "momentum_none": "cumulative", "single_value": "refused", "training_normalizes_with": "batch",
        "untracked_eval_uses": "batch", "bootstrap": "plain",
    },
}  # fmt: skip
