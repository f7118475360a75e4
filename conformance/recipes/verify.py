"""Both sides of recipes built and run: the source by its adapter, the target by the code as it is printed.

A difference is in units of the bound: the proven error bounds of both sides, added. Below 1 both sides can be honest
roundings of one value.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case, Observation
from normgauge.adapters.functions import channels_first, channels_last
from normgauge.adapters.layout import CHANNELS_LAST
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes import program
from normgauge.conformance.recipes.cases import CONVERTED, cases_of
from normgauge.conformance.recipes.code import channels_argument
from normgauge.conformance.recipes.layers import DTYPE, RecipeLayer
from normgauge.conformance.recipes.recipe import Recipe
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.oracle import Arithmetic, Reference, Refusal, Semantics
from normgauge.oracle.arithmetic import WIDEST

#: The three comparisons: training and eval from the same arrays, and calls after the state was converted.
PHASES: Final = ("training", "eval", "after conversion")
_SECONDS: Final = 600
_Steps = list[Mapping[str, Reference]]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a verification found: the largest difference of each phase, in units of the bound.

    ``where`` has the element that differs most. ``failed`` says why a side did not run, and is empty else.
    """

    recipe: Recipe
    cases: int = 0
    refused: int = 0
    largest: Mapping[str, float] = field(default_factory=dict)
    where: str = ""
    failed: str = ""

    @property
    def worst(self) -> float:
        """The largest difference of all."""
        return max(self.largest.values(), default=0.0)

    @property
    def agrees(self) -> bool:
        """Whether both sides ran, and no difference is larger than the bound."""
        return not self.failed and self.worst <= 1


def verify(recipes: Sequence[Recipe], pythons: Mapping[str, str] | None = None) -> list[Verified]:
    """The verification of each recipe that has code, in their order.

    ``pythons`` names interpreters for frameworks that this one does not have.

    Raises:
        CannotRun: a framework cannot be started.
    """
    interpreters = dict(pythons or {})
    written = [one for one in recipes if one.code]
    sources = {one.source.id: one.source for one in written}
    seen: dict[str, _Seen] = {}
    for framework in dict.fromkeys(one.framework for one in sources.values()):
        own = [one for one in sources.values() if one.framework == framework]
        seen |= _observed(framework, own, interpreters.get(framework, sys.executable))
    found: dict[int, Verified] = {}
    known: dict[tuple[str, bytes, str], _Steps] = {}
    for framework in dict.fromkeys(one.target.framework for one in written):
        own_recipes = [one for one in written if one.target.framework == framework]
        answers = _answers(framework, own_recipes, seen, interpreters.get(framework, sys.executable))
        found |= {id(one): _compared(one, seen[one.source.id], answers, known) for one in own_recipes}
    return [found[id(one)] for one in written]


# --- the source ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a source did on each of its cases."""

    cases: Sequence[Case]
    observations: Sequence[Observation]


def _observed(framework: str, layers: Iterable[RecipeLayer], python: str) -> dict[str, _Seen]:
    found = {}
    with contextlib.closing(WorkerProcess(Launch(framework=framework, python=python), DTYPE)) as subject:
        for layer in layers:
            cases = list(cases_of(layer))
            found[layer.id] = _Seen(cases=cases, observations=list(subject.run(layer.id, cases)))
    return found


# --- the target ---------------------------------------------------------------------------------


def _jobs(recipe: Recipe, own: str, seen: _Seen, arrays: dict[str, Array]) -> Iterator[dict[str, Any]]:
    """A job for every case from its start, and one for every state that the source has been trained to."""
    source = recipe.source
    last = source.implementation.layout == CHANNELS_LAST
    for number, (case, seen_of_case) in enumerate(zip(seen.cases, seen.observations, strict=True)):
        states = {0: case.parameters}
        if len(seen_of_case.steps) > CONVERTED and kind_of(case.layer).tracks:
            states[CONVERTED] = {**case.parameters, **seen_of_case.steps[CONVERTED - 1].state}
        for start, state in states.items():
            key = f"{source.id}/{number}/{start}"
            names = {source.implementation.names[name]: f"{key}/{name}" for name in state}
            arrays |= {f"{key}/{name}": value for name, value in state.items()}
            steps = []
            for step, one in enumerate(case.steps):
                if step >= start:
                    arrays[f"{source.id}/{number}/x{step}"] = channels_last(one.x) if last else one.x
                    steps.append((one.mode, f"{source.id}/{number}/x{step}"))
            yield {
                "id": f"{own} {number} {start}",
                "code": recipe.code,
                "native": recipe.target.writing.native.format(x="x"),
                "plain": recipe.target.writing.plain.format(x="x"),
                "arguments": _arguments(recipe, case),
                "state": names,
                "steps": steps,
            }


def _arguments(recipe: Recipe, case: Case) -> dict[str, Any]:
    """The arguments of make_layer: those of the source's constructor, for its settings."""
    source, given = recipe.source, dict(case.settings)
    names = source.implementation.names
    found: dict[str, Any] = {channels_argument(source): given.pop("num_channels")}
    for flag, parts in source.writing.flags.items():
        if not all(given.get(part, True) for part in parts):
            found[flag] = False
    found |= {names[name]: value for name, value in given.items() if name not in {"weight", "bias"}}
    if recipe.target.writing.fixes_rank:
        found["ndim"] = case.steps[0].x.ndim
    return found


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What the program answered, by the id of a job."""

    answers: Mapping[str, Sequence[Mapping[str, Any]]]
    outputs: Mapping[str, Array]


def _answers(framework: str, recipes: Sequence[Recipe], seen: Mapping[str, _Seen], python: str) -> _Answers:
    arrays: dict[str, Array] = {}
    jobs = [job for one in recipes for job in _jobs(one, str(id(one)), seen[one.source.id], arrays)]
    # zip files have no name twice, and NumPy takes the names as keywords
    with tempfile.TemporaryDirectory(prefix="normgauge-recipes-") as folder:
        Path(folder, "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        np.savez(Path(folder, "inputs.npz"), **arrays)  # type: ignore[arg-type]
        command = [python, str(Path(program.__file__)), folder]
        variables = {**os.environ, **{n: v for one in recipes for n, v in one.target.writing.environment.items()}}
        try:
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise CannotRun(f"{framework}: the recipes did not end within {_SECONDS} seconds") from None
        if done.returncode:
            raise CannotRun(f"{framework}: the recipes ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        answers = json.loads(Path(folder, "answers.json").read_text(encoding="utf-8"))
        with np.load(Path(folder, "outputs.npz")) as file:
            outputs = {name: file[name] for name in file.files}
    return _Answers(answers={job["id"]: one for job, one in zip(jobs, answers, strict=True)}, outputs=outputs)


# --- the comparison -----------------------------------------------------------------------------


def _compared(recipe: Recipe, seen: _Seen, answers: _Answers, known: dict[tuple[str, bytes, str], _Steps]) -> Verified:
    largest = dict.fromkeys(PHASES if kind_of(recipe.source.implementation.layer).tracks else PHASES[:1], 0.0)
    where, refused = "", 0
    for number, (case, observed) in enumerate(zip(seen.cases, seen.observations, strict=True)):
        bounds = _bounds(recipe, case, known)
        for start in (0, CONVERTED):
            job = f"{id(recipe)} {number} {start}"
            if job not in answers.answers:
                continue
            found = answers.answers[job]
            if observed.raised is not None and "raised" in found[-1] and len(found) == len(observed.steps) + 1:
                refused += 1
            elif why := _stopped(observed, found):
                return Verified(recipe=recipe, cases=len(seen.cases), failed=f"case {number + 1}: {why}")
            for step, one in enumerate(found, start=start):
                if "raised" in one:
                    continue
                tracks = kind_of(case.layer).tracks
                phase = PHASES[2] if start else PHASES[case.steps[step].mode == "eval" and tracks]
                there = {"output": observed.steps[step].output, **observed.steps[step].state}
                far, element = _farthest(recipe, there, one["arrays"], answers.outputs, bounds[step])
                if far > max(largest.values()):
                    where = f"case {number + 1}, call {step + 1} ({phase}), {element}"
                largest[phase] = max(largest[phase], far)
    return Verified(recipe=recipe, cases=len(seen.cases), refused=refused, largest=largest, where=where)


def _stopped(observed: Observation, found: Sequence[Mapping[str, Any]]) -> str:
    """Why one of the sides has no result where the other has one."""
    if observed.unsupported or observed.died:
        return f"the source did not run: {observed.unsupported or observed.died}"
    if "raised" in found[-1]:
        return f"the code raised {found[-1]['raised']}"
    if observed.raised is not None:
        return f"the source raised {observed.raised.type}, the code did not"
    return ""


def _bounds(recipe: Recipe, case: Case, known: dict[tuple[str, bytes, str], _Steps]) -> list[Mapping[str, Reference]]:
    """For each step the exact results of the source, with the bounds of both sides added."""
    source, runs = recipe.source, []
    for layer in (source, recipe.target):
        key = source.id, case.digest, layer.profile.accuracy or WIDEST
        if key not in known:
            known[key] = _references(source, case, Arithmetic(DTYPE, key[2]))
        runs.append(known[key])
    return [
        {name: Reference(value=one[name].value, bound=one[name].bound + other[name].bound) for name in one}
        for one, other in zip(*runs, strict=True)
    ]


def _references(source: RecipeLayer, case: Case, arithmetic: Arithmetic) -> _Steps:
    """What the source's semantics give in each step, as far as they do not refuse one."""
    kind = kind_of(case.layer)
    choices = dict(kind.canonical.choices)
    choices |= {axis.axis: axis.measured[0] for axis in source.profile.axes if len(axis.measured) == 1}
    defaults = {name: source.default(name) for name in ("eps", "momentum")}
    settings = {name: float(text) for name, text in defaults.items() if text is not None} | dict(case.settings)
    steps: _Steps = []
    with contextlib.suppress(Refusal):
        semantics = Semantics(layer=case.layer, choices=choices)
        steps.extend(kind.steps(replace(case, settings=settings), semantics, arithmetic))
    return steps


def _farthest(
    recipe: Recipe,
    there: Mapping[str, Array],
    keys: Mapping[str, str],
    outputs: Mapping[str, Array],
    bounds: Mapping[str, Reference],
) -> tuple[float, str]:
    """The largest difference of a step in units of the bound, and the element that has it."""
    source = recipe.source.implementation
    last = source.layout == CHANNELS_LAST
    far, element = 0.0, "output"
    for name, bound in bounds.items():
        key = name if name == "output" else source.names[name]
        if key not in keys:
            return np.inf, f"{name}, which the code does not give"
        here = outputs[keys[key]]
        here = channels_first(here) if last and name == "output" else here
        if here.shape != there[name].shape:
            return np.inf, f"{name} of shape {here.shape}, not {there[name].shape}"
        ratio = Reference(value=there[name].astype(np.float64), bound=bound.bound).ratio(here)
        index = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        if ratio[index] > far:
            far, element = float(ratio[index]), f"{name}[{', '.join(str(int(i)) for i in index)}]"
    return far, element
