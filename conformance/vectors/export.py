"""Writes the cases with their expected values and bounds: tensors as safetensors, the rest as a manifest.

The same release writes the same bytes: names are in one order, and nothing depends on the machine or the time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from normgauge.adapters.case import Array, Case, Step, derivatives_of
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.case_files import StoredCase, promoted_cases, write_case
from normgauge.conformance.requirements.committed_cases import promoted_probes
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.vectors import manifest as record
from normgauge.conformance.vectors.flags import bugs_of, catches, requirement_flag
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic, Semantics, precisions

#: Values of x in all calls of a case, at most, by default: what keeps the default set below 5 MB.
LARGEST: Final = 4096
CANONICAL: Final = "canonical"
RANKS: Final = (2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The set that is asked for.

    ``semantics`` has, by name, the axes on which a semantics is not canonical, by layer; ``accuracy`` is the class
    whose bounds are written, ``largest`` bounds the values of x of a case. ``cases`` are explored cases beside the
    committed ones. ``suite`` is the version of normgauge that writes it.
    """

    suite: str
    layers: tuple[str, ...]
    dtypes: tuple[str, ...] = ("float32",)
    ranks: tuple[int, ...] = RANKS
    semantics: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=lambda: {CANONICAL: {}})
    accuracy: str = ACCURACY_CLASSES[-1]
    largest: int = LARGEST
    cases: tuple[StoredCase, ...] = ()


def arithmetic_of(dtype: str, accuracy: str) -> Arithmetic:
    """The arithmetic whose bounds are written: sums in float64 or float32, half precision rounded on the way."""
    ladder = precisions(dtype, accuracy)
    return ladder[1] if KNOWN_DTYPES[dtype].half else ladder[0]


def probes_for(layer: str, dtype: str, ranks: tuple[int, ...], cases: Sequence[StoredCase]) -> list[Probe]:
    """Every probe that an implementation is asked, those of explored cases included.

    A derivative beyond the gradients is left out: an answer from files declares none.
    """
    explored = promoted_probes(layer, dtype, ranks, [*promoted_cases(), *cases])
    about = [one for one in kind_of(layer).requirements if one.about == "committed"]
    found = [*probes(layer, dtype, ranks), *(own for one in about for probe in explored for own in probe.of(one.id))]
    return [one for one in found if not requirements()[one.requirement].derivative]


def export(folder: Path, wanted: Wanted, references: References) -> record.Manifest:
    """Write the set into ``folder``, which is there, and return its manifest.

    Raises:
        OSError: a file cannot be written.
    """
    writers = [_Writer(layer, dtype, wanted, references) for layer in wanted.layers for dtype in wanted.dtypes]
    files, cases, left = {}, [], []
    for writer in writers:
        cases += list(writer.cases())
        left += list(writer.left_out())
        if writer.tensors:
            content = _safetensors(writer.tensors)
            (folder / writer.file).write_bytes(content)
            files[writer.file] = hashlib.sha256(content).hexdigest()
    named = {name for case in cases for name in (*case.flags, *case.catches)}
    named |= {
        f"{layer} {axis}={value}"
        for by_layer in wanted.semantics.values()
        for layer, choices in by_layer.items()
        for axis, value in choices.items()
    }
    flags = {one.id: requirement_flag(one) for layer in wanted.layers for one in kind_of(layer).requirements}
    flags |= {name: flag for layer in wanted.layers for name, _, flag in bugs_of(kind_of(layer))}
    found = record.Manifest(
        format=record.FORMAT,
        suite=wanted.suite,
        accuracy=wanted.accuracy,
        layers=wanted.layers,
        dtypes=wanted.dtypes,
        ranks=wanted.ranks,
        largest=wanted.largest,
        arithmetic={dtype: _told(arithmetic_of(dtype, wanted.accuracy)) for dtype in wanted.dtypes},
        semantics={
            name: {layer: dict(by_layer.get(layer, {})) for layer in wanted.layers}
            for name, by_layer in wanted.semantics.items()
        },
        files=files,
        left_out=tuple(left),
        flags={name: flag for name, flag in flags.items() if name in named},
        cases=tuple(cases),
    )
    (folder / record.MANIFEST).write_text(record.written(found), encoding="utf-8")
    (folder / record.SCHEMA).write_text(json.dumps(record.schema(), indent=1) + "\n", encoding="utf-8")
    for one in wanted.cases:
        write_case(folder / record.CASES, one)
    return found


def _told(arithmetic: Arithmetic) -> record.Arithmetic:
    return record.Arithmetic(computes_in=arithmetic.dtype, rounds_intermediates=arithmetic.stored)


def _safetensors(tensors: Mapping[str, Array]) -> bytes:
    from safetensors.numpy import save

    content: bytes = save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    return content


class _Writer:
    """The cases of one layer at one dtype; ``tensors`` has the arrays of those that were given out."""

    def __init__(self, layer: str, dtype: str, wanted: Wanted, references: References) -> None:
        self.file = f"{layer}-{dtype}.safetensors"
        self.tensors: dict[str, Array] = {}
        self._dtype, self._wanted, self._references = dtype, wanted, references
        self._kind = kind_of(layer)
        self._arithmetic = arithmetic_of(dtype, wanted.accuracy)
        canonical = self._kind.canonical.choices
        self._semantics = {
            name: Semantics(layer=layer, choices={**canonical, **by_layer.get(layer, {})})
            for name, by_layer in wanted.semantics.items()
        }
        self._reasons: dict[str, Counter[str]] = {}
        self._probes: dict[str, list[Probe]] = {}
        for probe in probes_for(layer, dtype, wanted.ranks, wanted.cases):
            if why := _why_not(probe.case, wanted.largest):
                self._reasons.setdefault(why, Counter())[probe.requirement] += 1
            else:
                self._probes.setdefault(case_id(probe.case), []).append(probe)

    def left_out(self) -> Iterator[record.LeftOut]:
        for why, counts in sorted(self._reasons.items()):
            yield record.LeftOut(why=f"{self._dtype}: {why}", cases=dict(sorted(counts.items())))

    def cases(self) -> Iterator[record.Case]:
        for name, alike in self._probes.items():
            yield self._case(name, alike)

    def _case(self, name: str, alike: Sequence[Probe]) -> record.Case:
        case = alike[0].case
        measures = next((one.measures for one in alike if one.measures), None)
        found = {} if measures else self._predictions(case)
        caught = self._caught(case, found[CANONICAL]) if CANONICAL in found and _diagnoses(alike) else ()
        return record.Case(
            id=name,
            layer=case.layer,
            dtype=case.dtype,
            file=self.file,
            accuracy=self._wanted.accuracy,
            titles=tuple(dict.fromkeys(one.label for one in alike)),
            flags=tuple(dict.fromkeys(one.requirement for one in alike)),
            catches=tuple(caught),
            settings=dict(sorted(case.settings.items())),
            parameters=self._kept(name, case.parameters, case.dtype),
            dtypes=dict(sorted(case.dtypes.items())),
            steps=tuple(self._call(name, case, number, found) for number in range(1, len(case.steps) + 1)),
            refusal=_refusal(alike),
            refused={key: one.refused for key, one in found.items() if one.refused is not None},
            measures=measures,
        )

    def _predictions(self, case: Case) -> dict[str, Prediction]:
        return {
            name: self._references.predict(case, semantics, self._arithmetic)
            for name, semantics in self._semantics.items()
        }

    def _caught(self, case: Case, right: Prediction) -> Iterator[str]:
        for name, semantics, _ in bugs_of(self._kind):
            if catches(right, self._references.predict(case, semantics, self._arithmetic)):
                yield name

    def _call(self, name: str, case: Case, number: int, found: Mapping[str, Prediction]) -> record.Call:
        step, place = case.steps[number - 1], f"{name}/{number}"
        expected: dict[str, dict[str, record.Expected]] = {}
        for semantics, prediction in found.items():
            if len(prediction.steps) < number:
                continue
            expected[semantics] = {}
            for quantity, one in sorted(prediction.steps[number - 1].items()):
                at = f"{place}/{quantity}/{semantics}"
                self.tensors |= {f"{at}/value": one.value, f"{at}/bound": one.bound}
                expected[semantics][quantity] = record.Expected(value=f"{at}/value", bound=f"{at}/bound")
        given = {"x": step.x} if step.dy is None else {"x": step.x, "dy": step.dy}
        named = self._kept(place, given, case.dtype)
        return record.Call(
            mode="train" if step.mode == "train" else "eval",
            x=named["x"],
            dy=named.get("dy"),
            before=tuple(
                record.Action(
                    action=one.name,
                    value=one.value,
                    parameters=self._kept(f"{place}/before{count}", one.parameters, case.dtype),
                )
                for count, one in enumerate(step.before, start=1)
            ),
            answer={quantity: f"{place}/{quantity}" for quantity in due(case, step)},
            expected=expected,
        )

    def _kept(self, place: str, arrays: Mapping[str, Array], dtype: str) -> dict[str, str]:
        self.tensors |= {f"{place}/{name}": value for name, value in arrays.items()}
        return {name: f"{place}/{name}" for name in sorted(arrays)}


#: The rules by which refusing an input is right, or as good as an answer.
_REFUSALS: Final[Mapping[str, Literal["required", "allowed"]]] = {
    "refusal": "required",
    "answer": "allowed",
    "parameter_types": "allowed",
    "beyond_half": "allowed",
}


def _refusal(alike: Sequence[Probe]) -> Literal["required", "allowed"] | None:
    rules = [requirements()[one.requirement].rule for one in alike]
    return next((kind for rule, kind in _REFUSALS.items() if rule in rules), None)


def _diagnoses(alike: Sequence[Probe]) -> bool:
    return any(one.diagnoses for one in alike)


def _why_not(case: Case, largest: int) -> str:
    """Why a case is not in the set; empty where it is."""
    if any(step.layout or step.dy_layout for step in case.steps):
        return "the case is about the memory layout of arrays, which a file does not have"
    if any(action.name == "another_layer" for step in case.steps for action in step.before):
        return "the case is about another layer in the same process"
    return f"the inputs have more than {largest} values" if values_of(case) > largest else ""


def values_of(case: Case) -> int:
    """How many values x has in all calls of a case together."""
    return sum(step.x.size for step in case.steps)


def due(case: Case, step: Step) -> tuple[str, ...]:
    """The quantities that the answer to a step has."""
    settings: dict[str, Any] = {"weight": True, "bias": True, "track": True, **case.settings}
    own = [name for name in ("weight", "bias") if settings[name]]
    tracked = kind_of(case.layer).tracks and settings["track"]
    state = ("running_mean", "running_var") if tracked else ()
    inspected = (*own, "trainable") if step.inspect else ()
    return ("output", *state, *derivatives_of(step, own), *inspected)
