"""The rows of an example: exact at its input, canonical on every axis, as many digits as the bound supports."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from exact_layers import MP
from exact_rows import mistake, mistakes_of, numbers_of, rows, tally_of

from normgauge.adapters.case import Case, Observation, Step, StepResult
from normgauge.conformance.diagnosis.candidates import Deviation, as_given, compare
from normgauge.conformance.diagnosis.predictions import exact, predict
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.digits import supported
from normgauge.conformance.verdicts.evidence import instead, told_in
from normgauge.oracle import CANONICAL, Arithmetic
from normgauge.results.records import Example, Judgement, Record

DOCS = Path(__file__).parents[2] / "docs"


@functools.cache
def records() -> list[Record]:
    wanted = Wanted(dtypes=("float32",), in_process=True)
    return list(run_framework(Launch(framework="faulty.conventions:Conventions"), wanted))


def example_of(requirement: str) -> Example:
    judged = next(one for one in records() if isinstance(one, Judgement) and one.requirement == requirement)
    assert judged.example is not None
    return judged.example


def lines(example: Example, *quantities: str) -> dict[str, list[str]]:
    """The lines of each row about these quantities, without the step."""
    return {
        name: [line.removeprefix("step 1 ") for line in own if line.split()[2] in quantities]
        for name, own in example.rows.items()
    }


# --- the semantics of a row ---------------------------------------------------------------------------


def test_canonical_is_canonical_on_every_axis_beside_the_row_with_one_axis_set_right() -> None:
    """x = 0, 4: mean 2, variance 4, or 8 with divisor 1; momentum 0.25 of the old or of the new value."""
    example = example_of("BN-03")
    assert example.inputs == ["step 1 train x 0 4"]
    assert lines(example, "running_mean", "running_var") == {
        "measured": ["running_mean 1.5", "running_var 3.25"],
        "canonical": ["running_mean 0.5", "running_var 2.75"],
        "canonical on this axis alone": ["running_mean 1.5", "running_var 6.25"],
        "measured semantics": ["running_mean 1.5", "running_var 3.25"],
    }


def test_the_variance_beside_a_wrong_momentum_is_canonical_too() -> None:
    example = example_of("BN-04")
    assert example.inputs == ["step 1 train x 0 1"]
    assert lines(example, "running_var") == {
        "measured": ["running_var 0.4375"],
        "canonical": ["running_var 0.875"],
        "canonical on this axis alone": ["running_var 0.8125"],
        "measured semantics": ["running_var 0.4375"],
    }


def test_a_row_whose_semantics_refuse_the_case_says_so_and_why() -> None:
    example = example_of("BN-06")
    assert example.canonical == ["refused: training needs more than one value per channel, got input shape (1, 1)"]
    assert example.followed == ["step 1 output 0", "step 1 running_mean 0", "step 1 running_var 0.25"]


def test_each_row_names_the_choices_that_are_not_canonical() -> None:
    conventions = {"running_var": "biased", "momentum_weighs": "old", "single_value": "shift"}
    for requirement, axis in (("BN-03", "running_var"), ("BN-04", "momentum_weighs"), ("BN-06", "single_value")):
        right = {name: choice for name, choice in conventions.items() if name != axis}
        assert example_of(requirement).choices == {"canonical": {}, "set_right": right, "followed": conventions}


def test_the_rows_are_what_other_formulas_give() -> None:
    found = tally_of(records())
    assert found.rows == {"canonical": 3, "set_right": 3, "followed": 3}
    assert found.numbers > 20
    assert found.mistakes == []


# --- what the other formulas catch --------------------------------------------------------------------


def wrong_in(example: Example) -> list[str]:
    return [
        wrong
        for row in rows(example, "batch_norm", "float32")
        for wrong in mistakes_of(row, example.observed, "float32")
    ]


def test_a_canonical_row_with_the_layers_own_conventions_is_a_mistake() -> None:
    example = example_of("BN-03")
    wrong = wrong_in(msgspec.structs.replace(example, canonical=example.set_right))
    assert [one.partition(" = ")[0] for one in wrong] == [
        "canonical: step 1 running_mean[0]", "canonical: step 1 running_var[0]",
    ]  # fmt: skip


def test_a_row_that_hides_a_refusal_and_one_that_makes_it_up_are_mistakes() -> None:
    example = example_of("BN-06")
    told = msgspec.structs.replace(example, canonical=example.followed, followed=example.canonical)
    assert len([one for one in wrong_in(told) if "refused" in one]) == 2


@pytest.mark.parametrize(
    ("text", "exact", "bound", "observed", "dtype", "said"),
    [
        ("-0.259563864192", "-0.2595638641919", 2.6e-12, math.nan, "float64", ""),
        ("-0.25958451055078613", "-0.2595638641919", 2.6e-12, math.nan, "float64", "exact is"),  # of a rounded input
        ("-0.25956386419192077", "-0.25956386419192077", 2.6e-12, math.nan, "float64", "more digits"),
        ("0.999969", "0.99996948", 1e-6, math.nan, "float32", ""),
        ("0.999969484", "0.99996948", 1e-6, math.nan, "float32", "more digits"),
        ("0.999968", "0.99996948", 1e-6, math.nan, "float32", "exact is"),
        ("0.15", "0.1500002", 1e-8, 0.15, "float32", "exact is"),
        ("0.1500002", "0.1500002", 1e-5, 0.15, "float32", "more digits"),
        ("nan", "0.5", 0.1, math.nan, "float32", "exact is"),
        ("-0.8", "-0.75", 2.06, math.nan, "float16", "exact is"),  # few digits are whole
        ("-0.75", "-0.75", 2.06, math.nan, "float16", ""),
        ("-0.75005", "-0.75005", 2.06, math.nan, "float32", ""),
        ("-0.750052", "-0.750052", 2.06, math.nan, "float32", "more digits"),
        ("5e+05", "499999.97", math.inf, math.nan, "float16", ""),
        ("inf", "500000", math.inf, math.nan, "float16", ""),
        ("inf", "65519", math.inf, math.nan, "float16", "float16 holds"),
        ("inf", "1e38", 0.1, math.nan, "float32", "float32 holds"),
        ("inf", "1e300", 0.1, math.nan, "float32", ""),
        ("85.1441870117187", "85.144187011718751", 7.2e-13, math.nan, "float64", "exact is"),  # another digit than 9
        ("85.144187011719", "85.144187011718751", 7.2e-13, math.nan, "float64", ""),  # the last one that is clear
        ("85.1441870117", "85.144187011718751", 7.2e-13, math.nan, "float64", "exact is"),  # fewer than are clear
        ("inf", "1e400", math.inf, math.nan, "float64", ""),
    ],
)
def test_a_number_must_be_exact_to_the_digits_that_its_bound_supports(
    text: str, exact: str, bound: float, observed: float, dtype: str, said: str
) -> None:
    found = mistake(text, MP.mpf(exact), bound, observed, dtype)
    assert said in found
    assert bool(said) == bool(found)


# --- exact inputs -------------------------------------------------------------------------------------

#: Of this float64 input a layer that computes in float32 sees something else.
GIVEN = np.array([[16.000280603562228, 16.002380415315216]])


def group_norm_case(x: Any) -> Case:
    settings = {"num_channels": 2, "num_groups": 1, "eps": 1.52587890625e-05, "weight": False, "bias": False}
    return Case(layer="group_norm", dtype="float64", settings=settings, parameters={}, steps=(Step("train", x),))


def observation(*output: float) -> Observation:
    return Observation(steps=(StepResult(output=np.array([output]), dtype="float64", state={}),))


def test_a_row_is_computed_from_the_input_as_it_is() -> None:
    (step,) = exact(group_norm_case(GIVEN), CANONICAL["group_norm"]).steps
    value, bound = step["output"].value[0, 0], step["output"].bound[0, 0]
    assert supported(value, bound, error=bound / 4) == "-0.25956386419"
    (rounded,) = predict(group_norm_case(GIVEN), CANONICAL["group_norm"], Arithmetic("float32")).steps
    assert f"{rounded['output'].value[0, 0]:.7f}" == "-0.2595845"


def test_what_is_told_of_a_layer_that_computes_in_float32_is_exact_too() -> None:
    case, seen = group_norm_case(GIVEN), observation(math.nan, math.nan)
    judged = compare(seen, predict(case, CANONICAL["group_norm"], Arithmetic("float32")))
    told = as_given(judged, case)
    assert f"{judged.expected:.7f} {told.expected:.7f}" == "-0.2595845 -0.2595639"
    assert told.bound == pytest.approx(judged.bound + abs(judged.expected - told.expected))
    assert told.ratio == math.inf


def test_what_is_within_its_bound_stays_so_at_the_exact_input() -> None:
    case = group_norm_case(GIVEN)
    prediction = predict(case, CANONICAL["group_norm"], Arithmetic("float32"))
    bound = prediction.steps[0]["output"].bound
    for part in (-0.999, 0.999):
        at_the_end = prediction.steps[0]["output"].value + part * bound
        told = as_given(compare(observation(*at_the_end[0]), prediction), case)
        assert told.of_rounded is None
        assert told.ratio <= 1


def test_what_a_wider_bound_would_excuse_is_told_as_it_was_judged() -> None:
    """Rounded to float32 both inputs are the same, and the output is 0; as they are it is -1 and 1."""
    case = group_norm_case(np.array([[2.0**40, 2.0**40 + 1]]))
    prediction = predict(case, CANONICAL["group_norm"], Arithmetic("float32"))
    own = replace(prediction.steps[0]["output"], bound=np.full((1, 2), 0.25))
    wider = replace(prediction, steps=({"output": own},))
    judged = compare(observation(-0.5, 0.5), wider)
    assert judged.ratio == 2
    assert as_given(judged, case) == judged


# --- digits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "expected", "bound", "said"),
    [
        (0.15, 0.150000006, 1e-9, "0.15 instead of 0.150000006"),
        (0.150000006, 0.15, 1e-9, "0.150000006 instead of 0.15"),
        (1 - 2**-53, 1.0, 0.0, "0.99999999999999989 instead of 1"),
        (-1.0, -1.41352, 0.0014, "-1 instead of -1.414"),
        (math.nan, -0.2595639, 0.185, "nan instead of -0.3"),
        (math.inf, 0.914587, 1e-3, "inf instead of 0.915"),
    ],
)
def test_what_came_out_and_what_should_have_never_print_alike(
    observed: float, expected: float, bound: float, said: str
) -> None:
    deviation = Deviation(ratio=2, step=1, quantity="y", index=(0,), observed=observed, expected=expected, bound=bound)
    assert instead(deviation) == f"y {said}"
    came_out, _, right = told_in("case", deviation).removeprefix("case, step 1 y[0] = ").partition(", expected ")
    assert came_out != right.partition(" ")[0]


@pytest.mark.parametrize(
    ("value", "bound", "error", "most", "said"),
    [
        (-0.75, 2.06, 2e-6, 5, "-0.75"),
        (500000.0, 3e6, 3.0, 5, "500000"),
        (1.03125, 4e-4, 4e-10, 5, "1.0312"),  # as the type prints it
        (0.47500000000000003, 1.5e-15, 3.7e-16, 17, "0.475"),
        (85.14418701171874, 7.2e-13, 1.8e-13, 17, "85.144187011719"),
        (0.99991234, 3.0, 0.75, 17, "1"),
        (0.02, 3.0, 0.75, 17, "0"),
        (0.123456, math.inf, 0.0, 9, "0.1"),
    ],
)
def test_a_number_ends_where_its_digits_are_no_more_certain(
    value: float, bound: float, error: float, most: int, said: str
) -> None:
    assert supported(value, bound, error=error, most=most) == said


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_no_page_says_a_number_instead_of_itself(page: Path) -> None:
    told = re.findall(r"([-\d.e+]+) instead of ([-\d.e+]*\d)", page.read_text(encoding="utf-8"))
    assert [pair for pair in told if pair[0] == pair[1]] == []


def test_an_expected_number_ends_where_the_bound_beside_it_does() -> None:
    deviation = Deviation(ratio=9, step=1, quantity="y", observed=1.0, expected=1.7653459812, bound=5.42e-06)
    assert told_in("case", deviation) == "case, step 1 y[] = 1, expected 1.76534598 ± 5.42e-06"


@pytest.mark.parametrize("texts", [("0.3", "-1.5", "0.1001"), ("3.008e-39", "1e-40", "inf")])
def test_numbers_are_read_as_the_type_holds_them(texts: Sequence[str]) -> None:
    torch = pytest.importorskip("torch")
    read = [float(one) for one in numbers_of(" ".join(texts), "bfloat16")]
    assert read == torch.tensor([float(text) for text in texts], dtype=torch.bfloat16).tolist()
