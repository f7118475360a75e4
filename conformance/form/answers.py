"""What an answer must have beyond the schema, by the case that it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from normgauge.adapters.base import OF_PARAMETERS
from normgauge.adapters.case import PARAMETERS, Case, Step, derivatives_of
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.memory import PAIRS, RESULTS
from normgauge.conformance.form.cases import Question
from normgauge.conformance.form.faults import Fault, cut, faults, inside, listed, shown
from normgauge.conformance.layers.registry import kind_of

_STATISTICS: Final = ("running_mean", "running_var")
_AFFINE: Final = ("weight", "bias")
#: What each list of names in a result may have.
_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "modified": (
        "x", *_AFFINE, "memory beside x", "dy", "memory beside dy",
        "the output of an earlier call", "a gradient of an earlier call", "the layer that was saved",
        *(f"the array loaded as {name}" for name in PARAMETERS),
    ),
    "shares": tuple(PAIRS),
    "read_only": RESULTS,
    "trainable": PARAMETERS,
}  # fmt: skip
#: Letters of an exception that are shown.
_SAID: Final = 400
_DECLARE: Final = "declare it in the hello's lacks"


def faults_of(message: Any, question: Question) -> list[Fault]:
    """Everything that is wrong in the form of the answer to a question; nothing about the numbers in it."""
    found = list(faults("Answer", message))
    faulty = [fault.place for fault in found]
    if not isinstance(message, dict) or {"", "steps", "raised"} & {one.partition(".")[0] for one in faulty}:
        return found
    case, steps = question.case, message.get("steps", [])
    found += _of_whole(message, question)
    for index, (step, result) in enumerate(zip(case.steps, steps, strict=False)):
        place = f"steps[{index}]"
        if not any(one.startswith(place) for one in faulty):
            found += _of_result(result, step, case, place)
    return found


def _of_whole(message: Mapping[str, Any], question: Question) -> Iterator[Fault]:
    asked, got = len(question.case.steps), len(message.get("steps", []))
    raised, unsupported = message.get("raised"), message.get("unsupported")
    if raised is not None:
        where = (f"step {got + 1}",) if got else ("construct", "step 1")
        if raised["where"] not in where:
            yield Fault(place="raised.where", what=f"{shown(raised['where'])} after {got} results")
        if question.ordinary:
            said = cut(f"{raised['type']}: {raised['message']}", _SAID)
            yield Fault(place="raised", what=f"results are due, got {said}; repair it, or {_DECLARE}")
    if unsupported is not None:
        yield Fault(place="unsupported", what=f"{shown(unsupported)} is not declared; {_DECLARE}")
    if got > asked or (got < asked and raised is None and unsupported is None):
        yield Fault(place="steps", what=f"{got} results for {asked} steps")
    warnings = message.get("warnings")
    if isinstance(warnings, list) and len({*map(str, warnings)}) < len(warnings):
        yield Fault(place="warnings", what="has a text twice")


def _of_result(result: Mapping[str, Any], step: Step, case: Case, place: str) -> Iterator[Fault]:
    channels = (int(case.settings["num_channels"]),)
    layer = [name for name in _AFFINE if case.settings.get(name, True)]
    tracked = kind_of(case.layer).tracks and case.settings.get("track", True)
    yield from _array(result["output"], step.x.shape, f"{place}.output")
    yield from _native(result["output"], result["dtype"], f"{place}.output")
    state = (*(_STATISTICS if tracked else ()), *(layer if step.inspect else ()))
    yield from _named(result["state"], state, f"{place}.state", channels)
    gradients = derivatives_of(step, layer)
    shapes = {name: step.x.shape for name in gradients if name not in OF_PARAMETERS}
    yield from _named(result.get("gradients", {}), gradients, f"{place}.gradients", channels, shapes)
    for name in result.get("dtypes", {}):
        if name not in {*result["state"], *result.get("gradients", {})}:
            yield Fault(place=inside(f"{place}.dtypes", name), what="neither in state nor in gradients")
    if step.inspect and result.get("trainable") is None:
        yield Fault(place=f"{place}.trainable", what=f"missing, though the step has inspect; give it, or {_DECLARE}")
    for field, allowed in _NAMES.items():
        yield from _words(result.get(field) or (), allowed, f"{place}.{field}")


def _words(given: Sequence[str], allowed: Iterable[str], place: str) -> Iterator[Fault]:
    for index, name in enumerate(given):
        if name not in allowed:
            yield Fault(place=f"{place}[{index}]", what=f"{shown(name)} is none of {listed(allowed)}")
        elif name in given[:index]:
            yield Fault(place=f"{place}[{index}]", what=f"{shown(name)} stands there twice")


def _named(
    given: Mapping[str, Any],
    due: Sequence[str],
    place: str,
    shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[Fault]:
    """What is wrong in an object of arrays, which should have the names ``due``."""
    for name in due:
        if name not in given:
            yield Fault(place=inside(place, name), what=f"missing; give it, or {_DECLARE}")
    for name, array in given.items():
        if name not in due:
            allowed = f"allowed: {listed(due)}" if due else "it should be empty here"
            yield Fault(place=inside(place, name), what=f"not asked for, or not of this layer; {allowed}")
        else:
            yield from _array(array, (shapes or {}).get(name, shape), inside(place, name))


def _array(array: Mapping[str, Any], shape: tuple[int, ...], place: str) -> Iterator[Fault]:
    told = tuple(array["shape"])
    if told != shape:
        yield Fault(place=f"{place}.shape", what=f"{shown(told)} where {shown(shape)} is due")
    due = math.prod(told) * np.dtype(array["dtype"]).itemsize
    length = len(array["data"]) // 4 * 3 - array["data"].count("=")
    if length != due:
        yield Fault(place=f"{place}.data", what=f"{length} bytes; {shown(told)} in {array['dtype']} has {shown(due)}")


def _native(array: Mapping[str, Any], native: str, place: str) -> Iterator[Fault]:
    """Whether an array travels in the type that holds the framework's own one."""
    known = KNOWN_DTYPES.get(native)
    if known is not None and array["dtype"] != known.carrier:
        yield Fault(place=f"{place}.dtype", what=f"{array['dtype']}; values of {native} travel as {known.carrier}")
