"""Gradients and half types of the real frameworks: they come out right, and a script prints the same numbers.

``nox -s tests`` installs the frameworks beside the project; without them these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from frameworks import NEEDED, Frameworks, for_each

from normgauge.adapters.case import Array, Case, Observation, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.script import numbers
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.oracle import Arithmetic, semantics


@dataclass(frozen=True, kw_only=True)
class Row:
    """An implementation: what departs from the canonical semantics, and in what type it computes what it is given.

    ``wider`` are the quantities that come out in float32 though the case is in half precision.
    """

    framework: str
    identifier: str
    layer: str
    departures: Mapping[str, str] = field(default_factory=dict)
    computes_in: Mapping[str, str] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    rank: int = 4
    wider: tuple[str, ...] = ()
    accuracy: str = "welford"


_PARAMETERS = ("running_mean", "running_var", "dweight", "dbias")
_HALF = ("float16", "bfloat16")
_OLD_BIASED = {"running_var": "biased", "momentum_weighs": "old"}


def _flax(api: str, *modes: str) -> Iterator[Row]:
    """The layers of one of flax's two interfaces, in the modes that users switch."""
    for mode in ("", "[mixed]", *modes):
        dtypes = {"": Row.dtypes, "[mixed]": _HALF}.get(mode, ("float32",))
        accuracy = "two_pass" if "use_fast_variance" in mode else "one_pass"
        row = partial(Row, framework="flax", dtypes=dtypes, accuracy=accuracy)
        wider = _PARAMETERS if mode == "[mixed]" else ()
        yield row(identifier=f"flax.{api}.GroupNorm{mode}", layer="group_norm", wider=wider)
        if mode != "[reduction_axes]":
            # The result's type is inferred; nnx infers it from the running statistics, too, which are of float32.
            inferred = ("running_mean", "running_var", *(["output"] if api == "nnx" else []))
            yield row(
                identifier=f"flax.{api}.BatchNorm{mode}",
                layer="batch_norm",
                departures=_OLD_BIASED,
                wider=wider or inferred,
            )


def _keras(backend: str, accuracy: str, float64: str, *compilers: str) -> Iterator[Row]:
    """Keras' layers on a backend that differentiates; ``float64`` is the type in which it computes that."""
    for mode in ("", "[mixed]", *compilers):
        dtypes = {"": Row.dtypes, "[mixed]": _HALF}.get(mode, ("float32",))
        wider = _PARAMETERS if mode == "[mixed]" else ()
        row = partial(
            Row,
            framework=f"keras-{backend}",
            computes_in={"float64": float64},
            dtypes=dtypes,
            wider=wider,
            accuracy=accuracy,
        )
        name = f"Normalization[{backend}]{mode}"
        yield row(identifier=f"keras.layers.Group{name}", layer="group_norm")
        yield row(identifier=f"keras.layers.Batch{name}", layer="batch_norm", departures=_OLD_BIASED)
    masked = f"keras.layers.BatchNormalization[{backend}][mask]"
    yield Row(
        framework=f"keras-{backend}",
        identifier=masked,
        layer="batch_norm",
        departures=_OLD_BIASED,
        dtypes=("float32",),
        accuracy=accuracy,
    )


ROWS = (
    Row(framework="torch", identifier="torch.nn.GroupNorm", layer="group_norm"),
    Row(framework="torch", identifier="torch.nn.BatchNorm2d", layer="batch_norm"),
    *(
        Row(framework="torch", identifier=f"torch.nn.{name}[{mode}]", layer=layer, dtypes=dtypes, wider=_PARAMETERS)
        for name, layer in (("GroupNorm", "group_norm"), ("BatchNorm2d", "batch_norm"))
        for mode, dtypes in (("autocast", ("bfloat16", "float32")), ("mixed", ("float16",)))
    ),
    Row(
        framework="torch",
        identifier="torch.nn.BatchNorm2d[channels_last]",
        layer="batch_norm",
        dtypes=("bfloat16", "float32"),
    ),
    Row(framework="torch", identifier="torch.nn.GroupNorm[vmap]", layer="group_norm", dtypes=("float32",)),
    Row(framework="mlx", identifier="mlx.nn.GroupNorm", layer="group_norm", departures={"grouping": "interleaved"}),
    Row(  # mx.fast.layer_norm, through which this one goes, takes float64 and computes in float32
        framework="mlx",
        identifier="mlx.nn.GroupNorm(pytorch_compatible=True)",
        layer="group_norm",
        computes_in={"float64": "float32"},
    ),
    Row(framework="mlx", identifier="mlx.nn.BatchNorm", layer="batch_norm"),
    Row(framework="mlx", identifier="mlx.nn.BatchNorm[compile]", layer="batch_norm", dtypes=("float32",)),
    Row(
        framework="mlx",
        identifier="mlx.nn.GroupNorm[mixed]",
        layer="group_norm",
        departures={"grouping": "interleaved"},
        dtypes=_HALF,
        wider=("output", *_PARAMETERS),
    ),
    Row(
        framework="mlx",
        identifier="mlx.nn.BatchNorm[mixed]",
        layer="batch_norm",
        dtypes=_HALF,
        wider=("output", *_PARAMETERS),
    ),
    *(
        Row(framework="lucid", identifier=f"lucid.nn.{name}{mode}", layer=layer, departures=departures, dtypes=dtypes)
        for name, layer, departures in (
            ("GroupNorm", "group_norm", {}),
            ("BatchNorm2d", "batch_norm", {"running_var": "biased"}),
        )
        for mode, dtypes in (("", ("float16", "float32", "float64")), ("[gpu]", ("float16", "float32")))
    ),
    *_flax("nnx", "(use_fast_variance=False)", "[mask]", "[reduction_axes]", "[vmap]", "[jit]"),
    *_flax("linen", "[vmap]", "[jit]"),
    *_keras("jax", "two_pass", "float32", "[jit]"),
    *_keras("torch", "one_pass", "float32"),
    *_keras("tensorflow", "two_pass", "float64", "[function]", "[jit_compile]"),
)
ASKED = [
    pytest.param(row, dtype, id=f"{row.identifier}-{dtype}-{row.framework}", marks=NEEDED)
    for row in ROWS
    for dtype in row.dtypes
]
#: A script is written alike in both half types, and in both others.
SCRIPTS = [
    pytest.param(*one.values, id=one.id, marks=[*NEEDED, *again])
    for one in ASKED
    for again in [[pytest.mark.exhaustive] if one.values[1] in {"float16", "float64"} else []]
]


def representable(values: Array, dtype: str) -> Array:
    """``values`` in the type that carries ``dtype``; those of a bfloat16 end after the first half of their bits."""
    carried = values.astype(KNOWN_DTYPES[dtype].carrier)
    return (carried.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if dtype == "bfloat16" else carried


def living_layer(row: Row, dtype: str, **settings: object) -> Case:
    """Steps with and without gradients, in both modes, on one layer whose weights all differ."""
    rng = np.random.default_rng(3)

    def draw() -> Array:
        return representable(rng.standard_normal((2, 4, 2, 1)[: row.rank]), dtype)

    own = {"num_groups": 2} if row.layer == "group_norm" else {"momentum": 0.25}
    given = {"num_channels": 4, "eps": 2.0**-7} | own | settings
    parameters = {
        "weight": representable(np.array([0.5, 1.0, -2.0, 3.0]), dtype),
        "bias": representable(np.arange(4.0), dtype),
    }
    if row.layer == "batch_norm" and given.get("track", True):
        parameters["running_mean"] = representable(np.array([0.25, -0.5, 0.0, 1.0]), dtype)
        parameters["running_var"] = representable(np.array([0.5, 1.0, 2.0, 4.0]), dtype)
    used = {name: value for name, value in parameters.items() if given.get(name, True)}
    modes = (("train", True), ("eval", True), ("train", False), ("eval", False), ("train", True))
    steps = (Step(mode, draw(), draw()) if gradients else Step(mode, draw()) for mode, gradients in modes)
    return Case(layer=row.layer, dtype=dtype, settings=given, parameters=used, steps=tuple(steps))


def seen_by(frameworks: Frameworks, row: Row, case: Case) -> Observation:
    seen = frameworks(row.framework).observation(row.identifier, case)
    assert (seen.raised, seen.died, seen.unsupported) == (None, None, None)
    return seen


@pytest.mark.parametrize(("row", "dtype"), ASKED)
@pytest.mark.parametrize("affine", [True, False])
def test_gradients_lie_within_the_oracle_s_bounds(frameworks: Frameworks, row: Row, dtype: str, affine: bool) -> None:
    case = living_layer(row, dtype, **({} if affine else {"weight": False, "bias": False}))
    seen = seen_by(frameworks, row, case)
    shown = {"dx", "dweight", "dbias"} if affine else {"dx"}
    assert [set(step.gradients) for step in seen.steps] == [
        shown if step.dy is not None else set() for step in case.steps
    ]
    if dtype in _HALF:
        arithmetic = Arithmetic("float32", row.accuracy, storage=dtype, stored=True)
    else:
        arithmetic = Arithmetic(row.computes_in.get(dtype, dtype), row.accuracy)
    deviation = compare(seen, predict(case, semantics(row.layer, **row.departures), arithmetic))
    assert deviation.ratio <= 1, deviation
    wrong = {"variance": "unbiased"}
    assert compare(seen, predict(case, semantics(row.layer, **{**row.departures, **wrong}), arithmetic)).ratio > 1


@pytest.mark.parametrize(("row", "dtype"), ASKED)
def test_everything_comes_out_in_its_dtype_and_nothing_else_is_changed(
    frameworks: Frameworks, row: Row, dtype: str
) -> None:
    for step in seen_by(frameworks, row, living_layer(row, dtype)).steps:
        assert (step.modified, step.shares) == ((), ())
        native = {"output": step.dtype, **step.dtypes}
        assert native == {
            name: "float32" if name in row.wider and dtype in _HALF else dtype for name in step.quantities
        }
        for name, values in step.quantities.items():
            assert np.array_equal(values, representable(values, native[name])), name


@pytest.mark.parametrize(("row", "dtype"), SCRIPTS)
def test_a_script_in_the_bare_framework_prints_the_same_gradients(frameworks: Frameworks, row: Row, dtype: str) -> None:
    case = living_layer(row, dtype)
    seen = seen_by(frameworks, row, case)
    processes = frameworks(row.framework)
    script = processes.worker(dtype).script(row.identifier, case, "what came out")
    expected = {
        f"step {number} {name} {numbers(values, dtype)}"
        for number, step in enumerate(seen.steps, start=1)
        for name, values in step.quantities.items()
    }
    assert set(processes.printed(script, dtype)) == expected


@for_each("torch")
def test_a_compiled_layer_gives_gradients_within_the_bounds(frameworks: Frameworks, framework: str) -> None:
    worker = frameworks(framework).worker("float32")
    (described,) = [one for one in worker.greeting.implementations if one.id == "torch.nn.GroupNorm[compile]"]
    assert described.thorough
    if described.missing:
        pytest.skip(described.missing)
    row = Row(framework="torch", identifier=described.id, layer="group_norm")
    case = living_layer(row, "float32")
    case = replace(case, steps=case.steps[:1])
    seen = seen_by(frameworks, row, case)
    assert compare(seen, predict(case, semantics("group_norm"), Arithmetic("float32", "welford"))).ratio <= 1
    (plain,) = worker.run("torch.nn.GroupNorm", [case])
    assert any(not np.array_equal(seen.steps[0].quantities[n], v) for n, v in plain.steps[0].quantities.items())


@for_each("keras-numpy")
def test_a_backend_without_automatic_differentiation_says_so(frameworks: Frameworks, framework: str) -> None:
    row = Row(framework=framework, identifier="keras.layers.BatchNormalization[numpy]", layer="batch_norm")
    (seen,) = frameworks(framework).worker("float32").run(row.identifier, [living_layer(row, "float32")])
    assert seen.unsupported == "there is no automatic differentiation"


@for_each("flax")
@pytest.mark.parametrize("identifier", ["flax.nnx.GroupNorm[mixed]", "flax.linen.BatchNorm[mixed]"])
def test_what_is_made_for_half_types_is_not_run_in_others(
    frameworks: Frameworks, framework: str, identifier: str
) -> None:
    greeting = frameworks(framework).worker("float32").greeting
    (described,) = [one for one in greeting.implementations if one.id == identifier]
    assert described.dtypes == ("float16", "bfloat16")
    launch = Launch(framework=framework, python=frameworks(framework).python)
    with pytest.raises(CannotRun, match="is made for float16 and bfloat16, not for float32"):
        next(run_framework(launch, Wanted(dtypes=("float32",), implementations=(identifier,))))
