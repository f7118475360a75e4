"""The rows of an example computed again: plain formulas in numbers of 60 digits, without the oracle.

``mistakes`` of the examples in a result file is empty where every printed number is the exact one at the example's
input, to the digits that its bound supports. As a script: ``python exact_rows.py FILE...`` says it of result files.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import mpmath
import numpy as np

from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Example, Judgement, Profile, Record

MP: Final = mpmath.mp.clone()
MP.dps = 60
NAN: Final = MP.mpf("nan")
#: Significant digits with which each type is printed at most.
PRINTED: Final = {"float32": 9, "float64": 17, "float16": 5, "bfloat16": 4}
#: What the row of a semantics may be wrong by, as a part of its bound: the oracle computes in float64.
ORACLE: Final = {"float64": 0.25}
#: As many values of a large array are shown.
SHOWN: Final = 64

Values = list[Any]


class Refused(Exception):
    """The semantics refuse the call."""


# --- an example as it is written ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    mode: str
    shape: tuple[int, ...]
    x: Values
    dy: Values | None = None
    before: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """The inputs of an example: parameters by name, and the steps."""

    parameters: Mapping[str, Values]
    steps: Sequence[Step]


def numbers_of(text: str, dtype: str) -> Values:
    """The numbers of a type that were printed, exactly."""
    kinds = {"float32": np.float32, "float16": np.float16, "float64": np.float64, "bfloat16": bfloat16}
    return [] if text == "(empty)" else [MP.mpf(float(kinds[dtype](word))) for word in text.split()]


def bfloat16(word: str) -> float:
    """The nearest number with 8 binary digits."""
    value = float(word)
    if value == 0 or not math.isfinite(value):
        return value
    unit = 2.0 ** (max(math.frexp(value)[1], -125) - 8)
    return round(value / unit) * unit


def written(example: Example, dtype: str) -> Written:
    parameters: dict[str, Values] = {}
    steps = [Step(mode="", shape=tuple(shape), x=[]) for shape in example.shapes]
    large = literals(example.script)
    for line in example.inputs:
        found = re.fullmatch(r"step (\d+) (before|\w+ x|\w+ dy) (.*)", line)
        if found is None:
            name, _, text = line.partition(" ")
            parameters[name] = numbers_of(text, dtype)
            continue
        number, what, text = int(found[1]) - 1, found[2], found[3]
        if what == "before":
            steps[number] = replace(steps[number], before=tuple(text.split(", ")))
            continue
        mode, name = what.split()
        values = [MP.mpf(float(v)) for v in next(large)] if large_inputs(example) else numbers_of(text, dtype)
        steps[number] = replace(steps[number], **{"mode": mode, name: values})
    return Written(parameters=parameters, steps=steps)


def large_inputs(example: Example) -> bool:
    return any("... (" in line for line in example.inputs)


def literals(script: str) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays x and dy in the order in which a script gives them, from its text."""
    known = {"np": np, "zlib": zlib, "base64": base64, "float": float, "__builtins__": {}}
    for source in re.findall(r"^ *(?:x|dy) = (np\.(?:array|resize|frombuffer)\(.*)$", script, re.MULTILINE):
        yield np.asarray(eval(source, known)).ravel()


# --- the formulas -------------------------------------------------------------------------------------


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


# --- what is printed beside what is exact -------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of an example, with the exact values of its lines: None for what no formula is asked about."""

    name: str
    lines: Sequence[str]
    bounds: Sequence[str]
    exact: Mapping[str, Values]
    refused: bool


def rows(example: Example, layer: str, dtype: str) -> Iterator[Row]:
    case, channels = written(example, dtype), example.settings["num_channels"]
    has = {name: example.settings.get(name, True) for name in ("weight", "bias")}
    affine = {
        name: case.parameters.get(name, initial) if has[name] else initial
        for name, initial in (("weight", [MP.one] * channels), ("bias", [MP.zero] * channels))
    }
    for name, chosen in example.choices.items():
        own = Layer(settings=example.settings, chosen=CANONICAL[layer] | chosen, **affine)
        exact: dict[str, Values] = {}
        refused = False
        try:
            for number, found in enumerate(FORMULAS[layer](case, own), start=1):
                for quantity, values in vars(found).items():
                    exact[f"step {number} {quantity}"] = values
                exact |= {f"step {number} {quantity}": values for quantity, values in affine.items()}
        except Refused:
            refused = True
        yield Row(name=name, lines=getattr(example, name), bounds=example.bounds[name], exact=exact, refused=refused)


def labels(lines: Iterable[str]) -> list[str]:
    """The step and the quantity of each line."""
    return [" ".join(line.split()[:3]) for line in lines]


def mistakes_of(row: Row, observed: Sequence[str], dtype: str) -> Iterator[str]:
    """What is wrong in a row."""
    *lines, last = row.lines or [""]
    if row.refused != last.startswith("refused: "):
        yield f"{row.name}: {'not refused' if row.refused else last}"
        return
    came_out = {" ".join(line.split()[:3]): line.split()[3:] for line in observed if line.startswith("step ")}
    numeric = [*lines, last] if last.startswith("step ") else lines
    outputs = [label for label in row.exact if label.endswith(" output")]
    if [label for label in labels(numeric) if label.endswith(" output")] != outputs or len(numeric) != len(row.bounds):
        yield f"{row.name}: {len(numeric)} lines, {len(row.bounds)} with bounds, {len(outputs)} steps"
        return
    for line, bounds in zip(numeric, row.bounds, strict=True):
        (label,), texts = labels([line]), line.split()[3:]
        if label.endswith("trainable") or texts == ["(empty)"]:
            continue
        limits, beside = bounds.split()[3:], came_out.get(label, [])
        exact, shown = row.exact[label], texts
        if "..." in texts:
            shown = texts[: texts.index("...")]
            exact, limits = exact[:SHOWN], limits[:SHOWN]
        if not len(shown) == len(exact) == len(limits):
            yield f"{row.name}: {label}: {len(shown)} numbers, {len(exact)} exact ones"
            continue
        others = beside if len(beside) >= len(shown) else ["nan"] * len(shown)
        for place, (text, value, limit) in enumerate(zip(shown, exact, limits, strict=True)):
            if wrong := mistake(text, value, float(limit), float(others[place]), dtype):
                yield f"{row.name}: {label}[{place}] = {text} ± {limit}: {wrong}"


def mistake(text: str, exact: Any, bound: float, observed: float, dtype: str) -> str:
    """What is wrong with one printed number; nothing where it is the exact one, with as many digits as it may have."""
    printed = MP.mpf(text)
    if MP.isnan(exact) or MP.isnan(printed):
        return "" if MP.isnan(exact) and MP.isnan(printed) else f"exact is {MP.nstr(exact, 17)}"
    if MP.isinf(printed):
        return "" if abs(exact) > sys.float_info.max and MP.sign(exact) == MP.sign(printed) else "is no infinity"
    most = PRINTED[dtype]
    finest_of_type = exponent(exact) - most + 1 if exact else -400
    supported = -400
    if math.isinf(bound):
        bound, supported = 0.0, exponent(exact) if exact else -400
    elif bound:
        supported = exponent(bound)
    allowed = MP.mpf(10) ** max(finest_of_type, supported) / 2 + bound * ORACLE.get(dtype, 1e-6)
    allowed += abs(exact) * MP.mpf(2) ** -50
    if abs(printed - exact) > allowed:
        return f"exact is {MP.nstr(exact, 17)}"
    digits = len(text.lstrip("-").partition("e")[0].replace(".", "").lstrip("0"))
    finest = exponent(printed) - digits + 1 if printed else 0
    # A digit less is what the bound supports, unless it were what came out, or none at all.
    # The bound is printed in two digits: it may be a little less than it says.
    if printed and digits > 1 and finest < max(finest_of_type, exponent(0.94 * bound) if bound else supported):
        fewer = float(MP.nstr(exact, digits - 1))
        if not (fewer == observed and abs(exact - observed) > bound):
            return f"has more digits than its bound supports, or than {dtype} has"
    if printed == observed and abs(exact - observed) > 1.05 * bound:
        return "is what came out, which is excluded"
    return ""


def exponent(value: Any) -> int:
    """That of the first digit."""
    return Decimal(MP.nstr(MP.mpf(value), 15)).adjusted()


_TOLD: Final = re.compile(r"made small, (step (\d+) (\w+))\[([\d, ]*)\] = \S+, expected (\S+) ± ([\d.e+-]+)")


def told(sentence: str, example: Example, found: Sequence[Row]) -> Iterator[str]:
    """What is wrong with the number that a sentence about the example expects: it is of the row that judges it."""
    said = _TOLD.search(sentence)
    if said is None:
        return
    label, number, quantity, place, text, bound = said.groups()
    shape = example.shapes[int(number) - 1]
    index = np.ravel_multi_index(tuple(map(int, place.split(", "))), shape if quantity in {"output", "dx"} else [2**40])
    exact = next(row for row in reversed(found) if row.name != "set_right").exact[label][int(index)]
    allowed = MP.mpf(10) ** (exponent(bound) - 2) / 2 if float(bound) else 0  # the last of its bound's three digits
    if not abs(MP.mpf(text) - exact) <= allowed + abs(exact) * MP.mpf(2) ** -50:
        yield f"the sentence expects {text} ± {bound}, exact is {MP.nstr(exact, 17)}"


@dataclass(kw_only=True)
class Tally:
    """How much was computed again, and what was wrong; ``older`` counts examples without what a row is made of.

    ``sentences`` are those that expect a number at the example's input.
    """

    examples: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    numbers: int = 0
    sentences: int = 0
    older: int = 0
    mistakes: list[str] = field(default_factory=list)


def tally_of(records: Iterable[Record]) -> Tally:
    """All examples of a result file computed again."""
    tally, layers = Tally(), dict[str, str]()
    for record in records:
        if isinstance(record, Profile):
            layers[record.implementation] = record.layer
        if not isinstance(record, Judgement | Counterexample) or record.example is None:
            continue
        example, wrong = record.example, list[str]()
        tally.examples += 1
        tally.older += not example.choices
        found = list(rows(example, layers[record.implementation], record.dtype))
        for row in found:
            tally.rows[row.name] = tally.rows.get(row.name, 0) + 1
            tally.numbers += sum(len(line.split()) - 3 for line in row.lines if line.startswith("step "))
            wrong += mistakes_of(row, example.observed, record.dtype)
        if found:
            tally.sentences += _TOLD.search(record.sentence) is not None
            wrong += told(record.sentence, example, found)
        about = f"{getattr(record, 'requirement', record.sentence)} {record.implementation} {record.dtype}"
        tally.mistakes += [f"{about}: {one}" for one in wrong]
    return tally


def main(paths: Sequence[str]) -> int:
    wrong = 0
    for path in map(Path, paths):
        found = tally_of(read_records(path))
        counted = ", ".join(f"{count} {name}" for name, count in found.rows.items())
        print(
            f"{path.name}: {found.examples} examples ({found.older} older), {counted} rows, "
            f"{found.numbers} numbers and {found.sentences} sentences, {len(found.mistakes)} mistakes"
        )
        print(*itertools.islice(found.mistakes, 40), sep="\n")
        wrong += len(found.mistakes)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
