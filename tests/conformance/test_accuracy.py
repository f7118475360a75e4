"""Accuracy: the class over all cases, the error curves, and how they are shown."""

from __future__ import annotations

import base64
import math
import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from drawings import Part, parts, picture_in, words
from pages import Element, header, profile, section, shown

from normgauge.adapters.script import literal
from normgauge.conformance.cli.main import main
from normgauge.conformance.cli.terminal import line_of
from normgauge.conformance.diagnosis.candidates import Deviation
from normgauge.conformance.requirements.accuracy_curves import LENGTHS, inputs_by_ratio
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.accuracy_class import hazards_of
from normgauge.conformance.verdicts.evidence import told_in
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic
from normgauge.reports import pictures
from normgauge.reports.accuracy_files import write_accuracy
from normgauge.reports.page.curves import ROWS, TOP
from normgauge.results.file import ResultsWriter
from normgauge.results.records import Judgement, Profile, Record, Series, SeriesPoint

CLASSES = list(ACCURACY_CLASSES)
COLOURS = (pictures.BLUE, pictures.GREEN, pictures.ORANGE)


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Record]]:
    names = ("group_norm.GroupNorm", "group_norm.OnePass", "group_norm.MeanInTwelveBits")
    launch = Launch(framework="faulty.adapter:FaultyAdapter")
    return {
        name: list(run_framework(launch, Wanted(dtypes=("float32",), implementations=(name,), in_process=True)))
        for name in names
    }


def curve(records: list[Record], axis: str, quantity: str = "output") -> Series:
    (found,) = [r for r in records if isinstance(r, Series) and (r.axis, r.quantity) == (axis, quantity)]
    return found


def class_of(records: list[Record]) -> str | None:
    (found,) = [r for r in records if isinstance(r, Profile)]
    return found.accuracy


# --- what is measured ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_inputs_span_twelve_decades_of_mean_beside_deviation(dtype: str) -> None:
    inputs = [cast(x, dtype).astype(np.float64) for x in inputs_by_ratio(dtype, (2, 8, 2, 2))]
    ratios = [abs(math.fsum(x.ravel()) / x.size) / float(np.std(x)) for x in inputs]
    assert max(ratios) >= 1e12 * min(ratios) > 0
    assert sorted(ratios) == ratios


def test_the_channels_of_an_input_are_alike_however_they_are_grouped() -> None:
    for x in inputs_by_ratio("float32", (2, 8, 2, 2)):
        own = {tuple(np.sort(cast(x, "float32")[sample, channel].ravel())) for sample in (0, 1) for channel in range(8)}
        assert len(own) == 1


def test_a_curve_has_a_point_for_each_input(measured: dict[str, list[Record]]) -> None:
    honest = measured["group_norm.GroupNorm"]
    assert [point.at for point in curve(honest, "n").points] == list(LENGTHS)
    ratios = [point.at for point in curve(honest, "ratio").points]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1e-4
    assert ratios[-1] > 2**23


def test_no_bound_of_a_tighter_class_is_above_that_of_a_wider_one(measured: dict[str, list[Record]]) -> None:
    for records in measured.values():
        for own in (r for r in records if isinstance(r, Series)):
            for point in own.points:
                bounds = [math.inf if bound is None else bound for bound in point.bounds]
                assert bounds == sorted(bounds)


def test_one_pass_statistics_lose_half_of_the_digits_where_they_are_predicted_to(
    measured: dict[str, list[Record]],
) -> None:
    lossy, honest = (curve(measured[f"group_norm.{name}"], "ratio") for name in ("OnePass", "GroupNorm"))
    predicted = Arithmetic("float32").one_pass_limit
    assert lossy.half_gone_at is not None
    assert predicted <= lossy.half_gone_at <= 8 * predicted  # the bound is met from below
    assert honest.half_gone_at is not None
    assert honest.half_gone_at > 32 * predicted  # two passes lose them at about 1 / sqrt(u)
    assert {point.holds for point in honest.points} == {"two_pass"}
    assert "one_pass" in {point.holds for point in lossy.points}


def test_the_class_is_the_tightest_that_holds_on_every_case(measured: dict[str, list[Record]]) -> None:
    assert class_of(measured["group_norm.GroupNorm"]) == "two_pass"
    assert class_of(measured["group_norm.OnePass"]) == "one_pass"


def test_an_error_outside_the_widest_class_diverges_and_has_no_class(measured: dict[str, list[Record]]) -> None:
    records = measured["group_norm.MeanInTwelveBits"]
    assert class_of(records) is None
    assert None in {point.holds for point in curve(records, "ratio").points}
    verdicts = {r.requirement: r.verdict for r in records if isinstance(r, Judgement)}
    assert verdicts["GN-12"] == "diverges"


def hazard_of(records: list[Record]) -> str:
    (found,) = [r for r in records if isinstance(r, Profile)]
    (told,) = found.hazards
    return told


def test_a_hazard_says_from_which_ratio_on_half_of_the_digits_are_lost(measured: dict[str, list[Record]]) -> None:
    at = curve(measured["group_norm.OnePass"], "ratio").half_gone_at
    assert at is not None
    told = hazard_of(measured["group_norm.OnePass"])
    assert told.startswith("one-pass statistics: half of the digits are lost from |mean| = ")
    assert f"= {float(f'{at:.2g}'):,.0f} deviations on, as measured" in told


def test_what_no_measured_input_lost_is_told_as_an_estimate() -> None:
    arithmetic = Arithmetic("float32", "one_pass", storage="float16")
    evidence: Any = SimpleNamespace(advice=lambda _: [], remedies={})
    (told,) = hazards_of(arithmetic, [series(half_gone_at=None)], evidence)
    assert told == (
        "one-pass statistics: by estimate, inputs can lose half of the digits where |mean| exceeds 609 deviations; "
        "the measured inputs did not, up to 10,000"
    )


def test_the_estimate_is_met_by_long_inputs_in_float16() -> None:
    limit = Arithmetic("float32", "one_pass", storage="float16").one_pass_limit
    random, lost = np.random.default_rng(0), []
    for mean in (300, 640, 1000, 2000):
        x = np.float16(mean + random.standard_normal(262_144))
        exact, wide, short = x.astype(np.float64), x.astype(np.float64).var(), x.astype(np.float32)
        variance = np.mean(short * short) - np.mean(short) ** 2
        y = (short - np.mean(short)) / np.sqrt(np.maximum(variance, 0) + np.float32(1e-5))
        expected = (exact - exact.mean()) / np.sqrt(wide + 1e-5)
        error = np.abs(y - expected).max() / np.abs(expected).max()
        lost.append((float(exact.mean() / np.sqrt(wide)), bool(error >= Arithmetic("float16").half_of_digits)))
    assert [is_lost for ratio, is_lost in lost if ratio < limit / 2] == [False]
    assert any(is_lost for ratio, is_lost in lost if ratio > limit)


def test_a_layer_outside_every_class_has_a_hazard(measured: dict[str, list[Record]]) -> None:
    told = hazard_of(measured["group_norm.MeanInTwelveBits"])
    assert told.startswith("outside every accuracy class: some errors exceed the bound of one-pass statistics")
    at = curve(measured["group_norm.MeanInTwelveBits"], "ratio").half_gone_at
    assert at is not None
    assert f"; half of the digits are lost from |mean| = {float(f'{at:.2g}'):,.0f} deviations on" in told


def test_a_hazard_says_where_the_output_is_no_number() -> None:
    lost = SeriesPoint(at=5.825e6, error=None, bounds=[None, None, None], holds=None)
    seen = SimpleNamespace(
        probe=SimpleNamespace(
            requirement="GN-12", diagnoses=False, measures=None, needs="", quantities=("output",), case=None
        ),
        observation=SimpleNamespace(steps=(1,), raised=None),
    )
    evidence: Any = SimpleNamespace(
        seen=[seen], diagnosis=SimpleNamespace(misfits=[]), without_known_departures=lambda one: one
    )
    (told,) = hazards_of(None, [series(half_gone_at=None, points=[*series().points, lost])], evidence)
    assert told.endswith("; outputs are NaN or infinite at 5,800,000 deviations")


@pytest.mark.parametrize(
    ("observed", "expected", "bound", "said"),
    [
        (math.nan, -1.0, 410.0, "= nan, expected a finite number, -1 ± 410 (the bound is wide: rounding may change"),
        (math.nan, -1.0, 0.01, "= nan, expected -1 ± 0.01"),
        (900.0, -1.0, 410.0, "= 900, expected -1 ± 410"),
    ],
)
def test_where_a_number_is_missing_a_wide_bound_is_explained(
    observed: float, expected: float, bound: float, said: str
) -> None:
    deviation = Deviation(
        ratio=math.inf, step=1, quantity="output", index=(0,), observed=observed, expected=expected, bound=bound
    )
    told = told_in("large mean", deviation)
    assert f"large mean, step 1 output[0] {said}" in told
    assert told.endswith(said) or "must be finite)" in told


def test_a_divergence_of_many_values_is_told_in_few_lines() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.LongTailUncounted",), in_process=True)
    records = list(run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted))
    (judged,) = [r for r in records if isinstance(r, Judgement) and r.requirement == "GN-24"]
    assert judged.verdict == "diverges"
    assert judged.example is not None
    assert max(map(len, (*judged.example.inputs, *judged.example.observed))) < 2000
    assert "values)" in judged.example.observed[0]
    assert len(judged.example.script) < 100_000
    assert 4096 < math.prod(judged.example.shapes[0]) < 2 * max(LENGTHS)  # made smaller, still more than a tile


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("period", [1, 8, 5000])
def test_a_large_array_has_a_literal_with_the_same_bits(dtype: str, period: int) -> None:
    values = cast(np.resize(np.sin(np.arange(period)), (2, 5, 1000)), dtype)
    written = literal(values, dtype)
    read = eval(written, {"np": np, "zlib": zlib, "base64": base64})
    assert read.dtype == values.dtype
    assert np.array_equal(cast(read, dtype), values)  # a framework rounds what float32 carries to its bfloat16
    assert len(written) < (400 if period < 10 else 8 * values.nbytes)


def test_the_profile_has_the_errors_in_units_of_the_typical_error_by_n(measured: dict[str, list[Record]]) -> None:
    (honest,) = [r for r in measured["group_norm.GroupNorm"] if isinstance(r, Profile)]
    assert {str(n) for n in LENGTHS} <= set(honest.typical)
    assert all(0 < ratio <= 1 for ratio in honest.typical.values())
    assert honest.typical["262144"] < honest.typical["256"]  # NumPy adds in pairs
    poor = curve(measured["group_norm.MeanInTwelveBits"], "ratio").points
    assert max(point.typical or 0 for point in poor) > 10
    assert all((point.typical or 0) <= 1 for point in curve(measured["group_norm.GroupNorm"], "ratio").points)


# --- how it is shown ----------------------------------------------------------------------------


def series(implementation: str = "torch.nn.GroupNorm", **changed: Any) -> Series:
    points = [
        SeriesPoint(at=10.0**power, error=10.0 ** (power - 8), bounds=[1e-6, 1e-5, None], holds="two_pass")
        for power in range(5)
    ]
    framework = implementation.partition(".")[0]
    base = Series(
        implementation=implementation,
        framework=framework,
        dtype="float32",
        computes_in="float32",
        quantity="output",
        axis="ratio",
        classes=CLASSES,
        half=1e-4,
        half_gone_at=1e4,
        points=points,
    )
    return msgspec.structs.replace(base, **changed)


ONE_PASS = "flax.nnx.GroupNorm"


def two_frameworks() -> list[list[Record]]:
    return [
        [
            header("torch", "torch.nn.GroupNorm"),
            profile(typical={"2": 0.05, "256": 0.01}),
            series(),
            series(axis="n", half_gone_at=None),
        ],
        [header("flax", ONE_PASS), profile(ONE_PASS, accuracy="one_pass"), series(ONE_PASS, half_gone_at=85.49)],
    ]


def test_the_report_has_the_class_of_each_implementation_and_dtype() -> None:
    told = section(shown(*two_frameworks()), "accuracy").text
    assert "torch.nn.GroupNorm two-passhalf lost at: 10,000" in told.replace("two-pass half", "two-passhalf")
    assert "half lost at: 85" in told


def test_where_no_input_lost_half_of_the_digits_the_report_says_up_to_which_ratio() -> None:
    run: list[Record] = [header(), profile(), series(half_gone_at=None)]
    assert "half lost: not up to 10,000" in section(shown(run), "accuracy").text


def test_the_report_has_the_errors_in_units_of_the_typical_error() -> None:
    run: list[Record] = [header(), profile(typical={"2": 0.052, "256": 1.31}), series()]
    told = section(shown(run), "accuracy").text
    assert "n = 2 · 256" in told
    assert "0.052 · 1.3" in told


def test_the_terminal_says_whether_the_largest_error_is_rounding() -> None:
    assert "largest error: 0.3 typical errors (rounding)" in str(line_of(profile(typical={"2": 0.3, "8": 0.1})))
    poor = str(line_of(profile(typical={"2": 0.3, "8": 1.4})))
    assert "1.4 typical errors (only a poor order of summation explains it)" in poor
    assert "(not rounding)" in str(line_of(profile(typical={"8": 1.4}, accuracy=None)))


def lines(page: Element) -> list[Part]:
    """The curves that were measured, without the bounds."""
    return [one for one in parts(picture_in(page)) if not one.dashed]


def test_a_picture_has_a_line_for_each_implementation_in_the_colour_of_its_class() -> None:
    page = section(shown(*two_frameworks()), "accuracy")
    drawn = [(line.said, line.colour) for line in lines(page)]
    assert ("torch.nn.GroupNorm: two-pass", pictures.BLUE) in drawn
    assert (f"{ONE_PASS}: one-pass", pictures.ORANGE) in drawn
    assert picture_in(page).one("desc").text == (
        "Implementations by accuracy class. torch: 1 two-pass; flax: 1 one-pass."
    )


def test_a_picture_has_the_bound_of_each_class_dashed() -> None:
    bounds = [one for one in parts(picture_in(section(shown(*two_frameworks()), "accuracy"))) if one.dashed]
    said = [f"bound of {kind} statistics in float32" for kind in ("two-pass", "welford", "one-pass")]
    assert [one.said for one in bounds] == said * 3  # torch has two curves, flax one
    assert {(one.said, one.colour) for one in bounds} == {*zip(said, COLOURS, strict=True)}


def test_a_picture_says_its_rows_its_frameworks_and_where_nothing_was_measured() -> None:
    told = words(picture_in(section(shown(*two_frameworks()), "accuracy")))
    assert [one for one in told if one.startswith("Error of")] == [ROWS[0][2], ROWS[2][2]]
    assert (told.count("torch"), told.count("flax"), told.count("not measured")) == (2, 2, 1)
    assert {"two-pass", "Welford", "one-pass", "outside every class", "10⁻⁶", "all digits lost"} <= {*told}


def test_what_gave_the_same_numbers_is_one_line_with_all_names() -> None:
    strided = "torch.nn.GroupNorm[strided]"
    run: list[Record] = [
        header("torch", "torch.nn.GroupNorm", strided, "torch.nn.Other"),
        *(profile(), profile(strided, mode="strided"), profile("torch.nn.Other")),
        *(series(), series(strided), series("torch.nn.Other", points=series().points[:3])),
    ]
    drawn = [line.said for line in lines(section(shown(run), "accuracy"))]
    assert drawn == ["torch.nn.GroupNorm: two-pass", "torch.nn.Other: two-pass"]


def test_what_is_no_number_is_drawn_at_the_top_and_a_report_without_curves_has_no_section() -> None:
    lost = series(
        points=[*series().points[:2], SeriesPoint(at=100.0, error=None, bounds=[None, None, None], holds=None)]
    )
    page = section(shown([header(), profile(), lost]), "accuracy")
    (line,) = lines(page)
    assert line.top == TOP
    assert "nan" not in picture_in(page).raw
    without = shown([header(), profile()])
    assert not [one for one in without.all("section") if one.attributes.get("aria-labelledby") == "accuracy"]


def test_the_page_for_the_documentation_is_made_by_one_command(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    for run in two_frameworks():
        with ResultsWriter(results / f"{run[0].framework}.jsonl") as writer:  # type: ignore[union-attr]
            for record in run:
                writer.write(record)
    ended = CliRunner().invoke(main, ["accuracy", str(results), "--out", str(docs)])
    assert ended.exit_code == 0, ended.output
    page = (docs / "accuracy.md").read_text(encoding="utf-8")
    assert "| flax | `flax.nnx.GroupNorm` | one-pass; 85 |" in page
    assert "| torch | `torch.nn.GroupNorm` | two-pass; 10,000 |" in page
    assert "n = 2 · 256.\n\n| framework | implementation | float32 |" in page
    assert "| torch | `torch.nn.GroupNorm` | 0.05 · 0.01 |" in page
    pictures = re.findall(r"\((accuracy-[^)]*\.svg)\)", page)
    assert pictures == ["accuracy-group_norm-float32.svg"]
    assert (docs / pictures[0]).read_text(encoding="utf-8").startswith("<svg ")
    assert write_accuracy(results, docs) == [docs / pictures[0], docs / "accuracy.md"]


def test_an_example_has_the_calls_alone_that_show_the_departure() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.CachesStatistics",), in_process=True)
    records = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
    (judged,) = (one for one in records if isinstance(one, Judgement) and one.requirement == "GN-12")
    assert judged.example is not None
    assert len(judged.example.shapes) == 2, "one call alone is right, and the requirement asks 29"
    assert "made small, step 2 output" in judged.sentence
