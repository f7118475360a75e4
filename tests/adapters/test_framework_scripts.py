"""The scripts of divergences and of other cases print, in the bare framework, what was measured."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
from frameworks import MODULES, Frameworks, for_each

from normgauge.adapters.case import ACTIONS, Action, Case, Element, Observation, Step
from normgauge.adapters.script import numbers
from normgauge.oracle import Arithmetic, group_norm
from normgauge.results.records import Example, Judgement, Profile, Record


def lines_of(seen: Observation, dtype: str) -> list[str]:
    """What a script must print of an observation."""
    return [
        f"step {number} {name} {numbers(values, dtype)}"
        for number, step in enumerate(seen.steps, start=1)
        for name, values in step.quantities.items()
    ]


def beside_kin_case(ranks: Collection[int], kind: str, **settings: Any) -> Case:
    """A case in float64 with weights for an InstanceNorm, bare for a LayerNorm, in the rank that kin mostly has."""
    x = np.arange(48, dtype=np.float64).reshape((2, 4, 3, 2) if 4 in ranks else (12, 4)) ** 2
    affine = kind == "instance_norm"
    parameters = {"weight": np.arange(4.0) + 1, "bias": np.arange(4.0) - 1} if affine else {}
    own = {"num_channels": 4, "num_groups": 4 if affine else 1, "eps": 0.5, "weight": affine, "bias": affine}
    return Case(
        layer="group_norm", dtype="float64", settings=own | settings, parameters=parameters, steps=(Step("train", x),)
    )


@for_each(*MODULES)
def test_the_script_of_an_instance_norm_or_layer_norm_prints_what_came_out(
    frameworks: Frameworks, framework: str
) -> None:
    processes = frameworks(framework)
    worker = processes.worker("float64")
    asked = [one for one in worker.greeting.kin if 4 in one.ranks or one.ranks == (2,)]
    assert {one.layer for one in asked} == {one.layer for one in worker.greeting.kin}
    for kin in asked:
        case = beside_kin_case(kin.ranks, kin.layer)
        (seen,) = worker.run(kin.id, [case])
        y, groups = seen.steps[0].output, case.settings["num_groups"]
        weight, bias = (case.parameters.get(name) for name in ("weight", "bias"))
        arithmetic = Arithmetic("float32")  # not all honour float64
        expected = group_norm(case.steps[0].x, groups, weight, bias, eps=0.5, arithmetic=arithmetic)
        assert not expected.excludes(y), kin.id
        script = worker.script(kin.id, case, "what came out")
        assert processes.printed(script, "float64") == [f"step 1 output {numbers(y, 'float64')}"], kin.id


@for_each("torch", "keras-numpy")
@pytest.mark.parametrize("affine", [{"weight": True}, {"bias": True}, {"weight": True, "bias": True}])
def test_a_layer_norm_whose_affine_parts_have_no_channels_says_so(
    frameworks: Frameworks, framework: str, affine: dict[str, bool]
) -> None:
    worker = frameworks(framework).worker("float64")
    (kin,) = [one for one in worker.greeting.kin if one.layer == "layer_norm"]
    (seen,) = worker.run(kin.id, [beside_kin_case(kin.ranks, kin.layer, **affine)])
    assert seen.unsupported is not None
    assert "hold one value for each element" in seen.unsupported


def acted_on(dtype: str, rank: int, lacking: set[str]) -> Case:
    """A case with every action that is not lacking, between steps that show the whole state."""
    given = {"weight": np.array([2, -1], dtype), "bias": np.array([0.5, 1], dtype)}
    given |= {"running_mean": np.array([1, -1], dtype), "running_var": np.array([4, 0.25], dtype)}
    new = {name: value[::-1] for name, value in given.items()}
    arguments = {
        "momentum": Action("momentum", value=0.75), "set_parameters": Action("set_parameters", parameters=new)
    }  # fmt: skip
    actions = [arguments.get(name, Action(name)) for name in ACTIONS if name not in lacking]
    x = np.arange(12, dtype=dtype).reshape((2, 2, 3, 1, 1)[:rank]) ** 2
    steps = (Step("train", x, before=(action,), inspect=True) for action in actions)
    settings = {"num_channels": 2, "eps": 0.5, "momentum": 0.25}
    return Case(
        layer="batch_norm",
        dtype=dtype,
        settings=settings,
        parameters=given,
        steps=(Step("eval", x, inspect=True, layout="strided"), *steps),
    )


#: The actions that a framework has nothing for.
LACKING: Mapping[str, set[str]] = {
    "torch": set(),
    "flax": {"reset", "freeze", "unfreeze", "freeze_model", "unfreeze_model"},
} | {name: {"reset"} for name in MODULES if name.startswith(("keras", "mlx"))}


@for_each(*MODULES)
def test_the_script_of_what_is_done_between_calls_prints_what_came_out(frameworks: Frameworks, framework: str) -> None:
    processes = frameworks(framework)
    worker = processes.worker("float32")
    for described in worker.greeting.implementations:
        if described.layer != "batch_norm" or described.thorough or "float32" not in described.dtypes:
            continue
        case = acted_on("float32", described.ranks[-1], LACKING[framework])
        (seen,) = worker.run(described.id, [case])
        if seen.unsupported is not None:
            assert described.mode == "expanded"  # these samples differ
            continue
        assert seen.raised is None
        script = worker.script(described.id, case, "what came out")
        assert processes.printed(script, "float32") == lines_of(seen, "float32"), described.id


@for_each("torch", "mlx", "flax")
def test_the_script_of_parameters_of_another_type_has_all_their_digits(frameworks: Frameworks, framework: str) -> None:
    processes = frameworks(framework)
    worker = processes.worker("float16")
    described = next(one for one in worker.greeting.implementations if one.layer == "group_norm")
    given = {"weight": np.array([1 + 2.0**-12, -3], np.float32), "bias": np.array([0.5, 1 + 2.0**-20], np.float32)}
    case = Case(
        layer="group_norm",
        dtype="float16",
        settings={"num_channels": 2, "num_groups": 1, "eps": 0.5},
        parameters=given,
        steps=(Step("train", np.arange(12, dtype=np.float16).reshape(2, 2, 3, 1)),),
        dtypes=dict.fromkeys(given, "float32"),
    )
    (seen,) = worker.run(described.id, [case])
    assert seen.raised is None
    script = worker.script(described.id, case, "what came out")
    assert "np.array([1.00024414, -3], dtype=np.float32)" in script
    assert processes.printed(script, "float16") == lines_of(seen, "float16")


def examples_in(records: list[Record]) -> dict[tuple[str, str], tuple[str, Example]]:
    """By requirement and implementation, one dtype of each divergence, and its example.

    An implementation that differs from another in layout alone has one divergence here.
    """
    judged = [one for one in records if isinstance(one, Judgement)]
    examples = {
        (j.requirement, j.implementation): (j.dtype, j.example)
        for j in reversed(judged)  # float32 last, so that it is kept where both diverge
        if j.example is not None
    }
    variants = modes_in(records) | {j.implementation for j in judged if "(axis=1)" in j.implementation}
    first = {implementation: requirement for requirement, implementation in reversed(examples)}
    return {key: shown for key, shown in examples.items() if key[1] not in variants or first[key[1]] == key[0]}


def modes_in(records: list[Record]) -> set[str]:
    """The implementations that are a mode of another."""
    return {one.implementation for one in records if isinstance(one, Profile) and one.mode != "eager"}


def in_full(lines: list[str]) -> list[str]:
    """The lines that do not break off: of a large array the element that departs has a line of its own."""
    return [line for line in lines if not line.endswith("values)")]


@for_each(*MODULES)
def test_the_script_of_a_large_array_prints_the_element_that_it_is_asked_for(
    frameworks: Frameworks, framework: str
) -> None:
    processes = frameworks(framework)
    worker = processes.worker("float32")
    described = next(
        one for one in worker.greeting.implementations if one.layer == "batch_norm" and not {2, 3} - {*one.ranks}
    )
    x = np.arange(2 * 2 * 1500, dtype=np.float32).reshape(2, 2, 1500) % 7
    settings = {"num_channels": 2, "eps": 0.5, "momentum": 0.25}
    case = Case(layer="batch_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("train", x),) * 2)
    (seen,) = worker.run(described.id, [case])
    script = worker.script(described.id, case, "what came out", Element(step=2, quantity="output", index=(1, 0, 1234)))
    lines = lines_of(seen, "float32")
    second = next(place for place, line in enumerate(lines) if line.startswith("step 2 output"))
    element = f"step 2 output[1,0,1234] {numbers(seen.steps[1].output[1, 0, 1234], 'float32')}"
    assert processes.printed(script, "float32") == [*lines[: second + 1], element, *lines[second + 1 :]]


#: How many calls a person follows.
MOST_CALLS = 4
#: How many examples each framework has at least, and how many of its modes have one.
EXAMPLES: Mapping[str, tuple[int, int]] = {
    "torch": (28, 14),
    "mlx": (16, 2),
    "keras-jax": (9, 1),
    "keras-torch": (14, 2),
    "keras-tensorflow": (12, 3),
    "keras-numpy": (13, 2),
    "flax": (34, 3),
}


@for_each(*MODULES)
def test_each_divergence_s_script_prints_the_numbers_in_the_report(
    frameworks: Frameworks, records: list[Record], framework: str
) -> None:
    processes, examples = frameworks(framework), examples_in(records)
    least, modes = EXAMPLES[framework]
    assert len(examples) >= least
    assert len({implementation for _, implementation in examples} & modes_in(records)) >= modes
    for key, (dtype, example) in examples.items():
        rows = {name: lines for name, lines in example.rows.items() if name != "measured"}
        expected = [*example.observed, *(f"{name}: {line}" for name, lines in rows.items() for line in lines)]
        # A message may have several lines, some of them blank, and colours for a terminal.
        printed = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(processes.printed(example.script, dtype)))
        assert printed.split() == "\n".join(expected).split(), key
        assert in_full(example.observed) != in_full(example.canonical), key
        assert len(example.shapes) <= MOST_CALLS, key


@for_each("mlx")
def test_the_remedy_for_interleaving_gives_the_canonical_result(framework: str) -> None:
    mx = pytest.importorskip("mlx.core")
    nn = pytest.importorskip("mlx.nn")

    groups, channels = 4, 12
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, channels, 3)).astype(np.float32)
    weight, bias = rng.standard_normal((2, channels)).astype(np.float32)
    p = np.arange(channels).reshape(groups, channels // groups).T.ravel()
    layer = nn.GroupNorm(groups, channels)
    layer.weight, layer.bias = mx.array(weight[p]), mx.array(bias[p])
    y = np.array(layer(mx.array(np.moveaxis(x[:, p], 1, -1))))
    undone = np.moveaxis(y, -1, 1)[:, np.argsort(p)]
    assert not group_norm(x, groups, weight, bias).excludes(undone)
    plain = nn.GroupNorm(groups, channels)
    plain.weight, plain.bias = mx.array(weight), mx.array(bias)
    untreated = np.moveaxis(np.array(plain(mx.array(np.moveaxis(x, 1, -1)))), -1, 1)
    assert group_norm(x, groups, weight, bias).excludes(untreated)
