"""The rows of an example computed again, from what a result file says alone and without the oracle.

:func:`tally_of` finds no mistake in the examples of a result file where every printed number is the exact one at the
example's input, to the digits that its bound supports. As a script, ``python exact_rows.py FILE...`` says it of files.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from exact_layers import CANONICAL, FORMULAS, MP, Layer, Refused, Step, Values, Written

from normgauge.oracle import AXES
from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Example, Judgement, Profile, Record

#: Significant digits with which each type is printed at most.
PRINTED: Final = {"float32": 9, "float64": 17, "float16": 5, "bfloat16": 4}
#: What the row of a semantics may be wrong by, as a part of its bound: the oracle computes in float64.
ORACLE: Final = {"float64": 0.25}
#: From here on a type has no number that is nearer than an infinity.
INFINITE: Final = {"float32": 2.0**128 - 2.0**103, "float64": sys.float_info.max, "float16": 65520.0,
                   "bfloat16": 2.0**128 - 2.0**119}  # fmt: skip
#: Half of a unit; of two neighbours that are as near either will do.
HALF: Final = (1 + MP.mpf(10) ** -40) / 2
#: A number of so few digits may be printed whole, whatever its bound.
WHOLE: Final = 5
#: What a step with a derivative shows in place of its output and gradients.
DERIVED: Final = ("second_x", "second_dy", "second_weight", "jvp", "jvp_of_jvp")
#: As many values of a large array are shown.
SHOWN: Final = 64

# --- an example as it is written ----------------------------------------------------------------------


def numbers_of(text: str, dtype: str) -> Values:
    """The numbers of a type that were printed, exactly."""
    kinds: dict[str, Callable[[str], Any]] = {
        "float32": np.float32,
        "float16": np.float16,
        "float64": float,
        "bfloat16": bfloat16,
    }
    return [] if text == "(empty)" else [MP.mpf(_held(word, kinds[dtype])) for word in text.split()]


def _held(word: str, kind: Callable[[str], Any]) -> float:
    """The number in its type, or in float32, where it is a parameter that this type cannot hold."""
    with np.errstate(over="ignore"):
        narrow, wide = float(kind(word)), float(np.float32(word))
    lost = (math.isinf(narrow) or narrow == 0) and math.isfinite(wide) and wide != 0
    return wide if lost and kind is not float else narrow


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
        found = re.fullmatch(r"step (\d+) (before|sets \w+|\w+ x|\w+ dy) (.*)", line)
        if found is None:
            name, _, text = line.partition(" ")
            parameters[name] = numbers_of(text, dtype)
            continue
        number, what, text = int(found[1]) - 1, found[2], found[3]
        if what == "before":
            steps[number] = replace(steps[number], before=tuple(text.split(", ")))
            continue
        text = re.sub(r"^\([a-z ]+\) ", "", text)  # how it lies in memory
        mode, name = what.split()
        if mode == "sets":
            steps[number] = replace(steps[number], sets={**steps[number].sets, name: numbers_of(text, dtype)})
            continue
        values = [MP.mpf(float(v)) for v in next(large)] if large_inputs(example) else numbers_of(text, dtype)
        now = replace(steps[number], mode=mode)
        steps[number] = replace(now, x=values) if name == "x" else replace(now, dy=values)
    return Written(parameters=parameters, steps=steps)


def large_inputs(example: Example) -> bool:
    return any("... (" in line for line in example.inputs)


def literals(script: str) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays x and dy in the order in which a script gives them, from its text."""
    known = {"np": np, "zlib": zlib, "base64": base64, "float": float, "__builtins__": {}}
    for source in re.findall(r"^ *(?:x|dy) = (np\.(?:array|resize|frombuffer)\(.*)$", script, re.MULTILINE):
        yield np.asarray(eval(source, known)).ravel()


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
        if has_mistake(chosen):  # tests/oracle/test_mistakes.py and the layers of tests/faulty/faults check these
            continue
        own = Layer(settings=example.settings, chosen=CANONICAL[layer] | chosen, **affine)
        exact: dict[str, Values] = {}
        refused = False
        shown = labels(getattr(example, name))
        try:
            for number, found in enumerate(FORMULAS[layer](case, own), start=1):
                derived = [label for label in shown if label.partition(f"step {number} ")[2] in DERIVED]
                quantities = along_dy(case, own, layer, number) if derived else vars(found)
                exact |= {f"step {number} {quantity}": values for quantity, values in quantities.items()}
                exact |= {f"step {number} {quantity}": values for quantity, values in affine.items()}
        except Refused:
            refused = True
        exact |= elements(shown, exact, example.shapes)
        yield Row(name=name, lines=getattr(example, name), bounds=example.bounds[name], exact=exact, refused=refused)


def elements(shown: Iterable[str], exact: Mapping[str, Values], shapes: Sequence[Sequence[int]]) -> dict[str, Values]:
    """The exact values of single elements of large arrays, by labels such as ``step 1 output[0,1,5]``."""
    found: dict[str, Values] = {}
    for label in shown:
        said = re.fullmatch(r"(step (\d+) \w+)\[([\d,]+)\]", label)
        if said is not None and said[1] in exact:
            index = tuple(map(int, said[3].split(",")))
            place = np.ravel_multi_index(index, shapes[int(said[2]) - 1]) if len(index) > 1 else index[0]
            found[label] = [exact[said[1]][int(place)]]
    return found


def has_mistake(choices: Mapping[str, str]) -> bool:
    known = {(axis.name, one.name) for axes in AXES.values() for axis in axes for one in (*axis.mistakes, *axis.rare)}
    return not known.isdisjoint(choices.items())


def along_dy(case: Written, layer: Layer, name: str, number: int) -> dict[str, Values]:
    """What a step's derivatives are, by differences of its quantities along dy as a direction of x."""
    h = MP.mpf(10) ** -15

    def moved(times: int) -> dict[str, Values]:
        step = case.steps[number - 1]
        x = [value + times * h * u for value, u in zip(step.x, step.dy or [], strict=True)]
        steps = [*case.steps[: number - 1], replace(step, x=x)]
        return vars(list(FORMULAS[name](replace(case, steps=steps), layer))[-1])

    back, here, forth = (moved(times) for times in (-1, 0, 1))

    def first(quantity: str) -> Values:
        return [(b - a) / (2 * h) for a, b in zip(back[quantity], forth[quantity], strict=True)]

    outputs = zip(back["output"], here["output"], forth["output"], strict=True)
    return {
        "jvp": first("output"),
        "jvp_of_jvp": [(a - 2 * b + c) / h**2 for a, b, c in outputs],
        "second_dy": first("output"),
        "second_x": first("dx"),
        "second_weight": first("dweight"),
    }


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
        beyond = abs(exact) >= INFINITE[dtype] and MP.sign(exact) == MP.sign(printed)
        return "" if beyond else f"{dtype} holds {MP.nstr(exact, 17)}"
    if printed == observed and abs(exact - observed) > 1.05 * bound:
        return "is what came out, which is excluded"
    return "" if is_whole(printed, exact) else wrong_digits(printed, exact, bound, observed, dtype)


def wrong_digits(printed: Any, exact: Any, bound: float, observed: float, dtype: str) -> str:
    """What is wrong with a number that is not printed whole."""
    own = bound * ORACLE.get(dtype, 1e-6) if math.isfinite(bound) else 0.0  # of the oracle, which prints
    error = 2 * own  # of whatever the oracle may have found
    if exact == 0:  # of what the oracle has in its place no more than the size may be told
        told = abs(printed) <= error and printed == MP.mpf(10) ** exponent(printed)
        return "" if told else "exact is 0"
    if is_whole(MP.mpf(MP.nstr(exact, min(WHOLE, PRINTED[dtype]))), exact) and abs(exact) > error:
        return f"exact is {MP.nstr(exact, WHOLE)}, and printed in part"
    # The bound is printed in two digits: it may be a little less than it says.
    places = [place_of(exact, one, observed, off, dtype) for one in (bound, 0.94 * bound) for off in (own, error)]
    if any(is_rounded(printed, exact, place, error) for place in places):
        return ""
    finest = min(places)
    more = abs(printed - exact) <= MP.mpf(10) ** finest * HALF and not is_multiple(printed, finest)
    return f"has more digits than its bound supports, or than {dtype} has" if more else f"exact is {MP.nstr(exact, 17)}"


def is_whole(printed: Any, exact: Any) -> bool:
    """Whether the printed number is the exact one, but for the noise of float64, and has few digits."""
    return bool(printed == MP.mpf(MP.nstr(printed, WHOLE)) and abs(printed - exact) <= abs(exact) * MP.mpf(2) ** -49)


def place_of(exact: Any, bound: float, observed: float, error: float, dtype: str) -> int:
    """The exponent of the last digit that is supported, or of one further right that tells it from what came out."""
    first = exponent(exact)
    place = exponent(bound) if bound and math.isfinite(bound) else (first if bound else -400)
    place = min(place, first + int(abs(exact) <= error))  # what is smaller may be 0 or of the next size
    place = max(place, first - PRINTED[dtype] + 1)
    while abs(exact - observed) > bound and rounded_to(exact, place) == MP.mpf(observed):
        place -= 1
    return place


def is_rounded(printed: Any, exact: Any, place: int, error: float) -> bool:
    """Whether it is the exact number rounded to a place, or to the first further left at which that is clear.

    It is not clear where the oracle, which lies within ``error``, may find another of the two neighbours nearer.
    """
    first = exponent(exact)
    for own in range(place, max(place, first) + 1):
        unit = MP.mpf(10) ** own
        if is_multiple(printed, own) and abs(printed - exact) <= unit * HALF + (error if own == first else 0):
            return True
        if rounded_to(exact - error, own) == rounded_to(exact + error, own):
            return False
    return False


def is_multiple(printed: Any, place: int) -> bool:
    times = printed / MP.mpf(10) ** place
    return bool(abs(times - MP.nint(times)) < MP.mpf(10) ** -20)


def rounded_to(value: Any, place: int) -> Any:
    unit = MP.mpf(10) ** place
    return MP.nint(value / unit) * unit


def exponent(value: Any) -> int:
    """That of the first digit."""
    return Decimal(MP.nstr(MP.mpf(value), 15)).adjusted()


def misnamed(example: Example, measured: Mapping[str, Sequence[str]], layer: str) -> Iterator[str]:
    """What is wrong in the choices of the rows, where ``measured`` survived on each axis."""
    canonical, followed = CANONICAL[layer], CANONICAL[layer] | example.choices.get("followed", {})
    if example.choices["canonical"]:
        yield f"canonical has {example.choices['canonical']}"
    yield from (
        f"as diagnosed has {axis}={followed[axis]}" for axis in measured if followed[axis] not in measured[axis]
    )
    right = example.choices.get("set_right")
    if right is not None and not has_mistake(example.choices.get("followed", {})):
        changed = [axis for axis in canonical if (canonical | right)[axis] != followed[axis]]
        if len(changed) != 1 or changed[0] in right or not right:
            yield f"{right} sets {changed} right"


_TOLD: Final = re.compile(r"made small, (step (\d+) (\w+))\[([\d, ]*)\] = \S+, expected (\S+) ± ([\d.e+-]+)")


def told(sentence: str, example: Example, found: Sequence[Row], dtype: str) -> Iterator[str]:
    """What is wrong with the number that a sentence about the example expects: it is of the row that judges it."""
    said = _TOLD.search(sentence)
    if said is None or has_mistake(example.choices.get("followed", {})):
        return
    label, number, _, place, text, bound = said.groups()
    shape = example.shapes[int(number) - 1]
    of_channels = len(place.split(", ")) < len(shape)
    index = np.ravel_multi_index(tuple(map(int, place.split(", "))), [2**40] if of_channels else shape)
    exact = next(row for row in reversed(found) if row.name != "set_right").exact[label][int(index)]
    if MP.isnan(exact) and MP.isnan(MP.mpf(text)):
        return
    allowed = MP.mpf(10) ** (exponent(bound) - 2) / 2 if float(bound) else 0  # the last of its bound's three digits
    own = MP.mpf(bound) * ORACLE.get(dtype, 0)
    if not abs(MP.mpf(text) - exact) <= allowed + own:
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
    tally, profiles = Tally(), dict[tuple[str, str], Profile]()
    for record in records:
        if isinstance(record, Profile):
            profiles[record.implementation, record.dtype] = record
        if not isinstance(record, Judgement | Counterexample) or record.example is None:
            continue
        example, wrong = record.example, list[str]()
        tally.examples += 1
        tally.older += not example.choices
        profile = profiles[record.implementation, record.dtype]
        found = list(rows(example, profile.layer, record.dtype))
        for row in found:
            tally.rows[row.name] = tally.rows.get(row.name, 0) + 1
            tally.numbers += sum(len(line.split()) - 3 for line in row.lines if line.startswith("step "))
            wrong += mistakes_of(row, example.observed, record.dtype)
        if found:
            wrong += misnamed(example, {axis.axis: axis.measured for axis in profile.axes}, profile.layer)
            tally.sentences += _TOLD.search(record.sentence) is not None
            wrong += told(record.sentence, example, found, record.dtype)
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
