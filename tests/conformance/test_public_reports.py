"""What people reported of their layers, each imitated by a fault, and the sentence that the suite says of it.

Each row is the kind of mistake in one public thread: what falls, no more than three requirements, one sentence of plain
words, one axis at most that departs, and no remedy but the canonical step. One thread asks for no adapter, but for what
two arrays say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from click.testing import CliRunner
from faulty.faults.table import BY_ID
from gates import Folder
from mutation_table import records_of

from normgauge.conformance.cli.main import main
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.verdicts.evidence import WRITE
from normgauge.oracle import Semantics, candidates, group_norm
from normgauge.results.file import read_records
from normgauge.results.records import DIVERGENT, Header, Judgement, NotRun, Profile, Record

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A fault that imitates a thread, what falls, and what the sentence of the first requirement says."""

    number: int
    thread: str
    fault: str
    fall: tuple[str, ...]
    says: str


def _both(number: int, thread: str, fault: str, falls: tuple[str, str], says: str) -> tuple[Reported, Reported]:
    """The same mistake in GroupNorm and in BatchNorm, in each of which one requirement falls."""
    group, batch = falls
    return (
        Reported(number=number, thread=thread, fault=f"group_norm.{fault}", fall=(group,), says=says),
        Reported(number=number, thread=thread, fault=f"batch_norm.{fault}", fall=(batch,), says=says),
    )


REPORTED: Final = (
    Reported(
        number=1,
        thread="microsoft/onnxruntime#29790",
        fault="batch_norm.TheUpdateOverwritesTheWeight",
        fall=("BN-14",),
        says="its output depends on momentum",
    ),
    Reported(
        number=2,
        thread="NVIDIA/TensorRT#4756",
        fault="group_norm.OneGroupIsEachChannel",
        fall=("GN-02",),
        says="G = 1 normalises each channel by itself (grouping: ",
    ),
    Reported(
        number=3,
        thread="tenstorrent/tt-metal#50682",
        fault="group_norm.ZerosToAMultipleOf32Above32",
        fall=("GN-02",),
        says="from 33 positions on, zeros up to the next multiple of 32 enter the statistics (grouping: ",
    ),
    Reported(
        number=3,
        thread="tenstorrent/tt-metal#50682",
        fault="batch_norm.ZerosToAMultipleOf32Above32",
        fall=("BN-63",),
        says="zeros up to the next multiple of 32 positions, from 33 positions on (normalized_together: ",
    ),
    *_both(
        4,
        "tenstorrent/tt-metal#50682, always padded",
        "ZerosToAMultipleOf32",
        ("GN-02", "BN-63"),
        "zeros up to the next multiple of 32 positions",
    ),
    Reported(
        number=5,
        thread="uxlfoundation/oneDNN#3543",
        fault="group_norm.DxWithoutTheWeight",
        fall=("GN-25",),
        says=": the weight left out",
    ),
    Reported(
        number=5,
        thread="uxlfoundation/oneDNN#3543",
        fault="batch_norm.DxWithoutTheWeight",
        fall=("BN-33", "BN-36"),
        says=": the weight left out",
    ),
    Reported(
        number=5,
        thread="uxlfoundation/oneDNN#3543",
        fault="group_norm.DxWithTheWeightAfterTheSums",
        fall=("GN-25",),
        says=": the weight multiplied in after the sums",
    ),
    Reported(
        number=6,
        thread="linkedin/Liger-Kernel#1375",
        fault="group_norm.BackwardRaisesFromRank4On",
        fall=("GN-25", "GN-26", "GN-27"),
        says="gradients at rank 4 and 5: ValueError in step 1",
    ),
    *_both(
        7,
        "ggml-org/llama.cpp#8818",
        "EpsIsAlways1e6",
        ("GN-05", "BN-10"),
        "eps is always 1e-6, whatever is given (eps_value: ",
    ),
    Reported(
        number=8,
        thread="tensorflow/addons#751",
        fault="group_norm.WrongAxis",
        fall=("GN-02",),
        says="groups are cut from (positions x channels) on the wrong axis",
    ),
    *_both(9, "apache/mxnet#9624", "WeightIgnored", ("GN-49", "BN-60"), "the weight is ignored (affine: "),
    Reported(
        number=10,
        thread="apple/coremltools#1020",
        fault="group_norm.MoreGroupsThanChannels",
        fall=("GN-42",),
        says="accepts inputs that must raise an exception: C=1, G=2; C=4, G=8; C=6, G=32",
    ),
    Reported(
        number=12,
        thread="paiml/aprender#2166",
        fault="batch_norm.NeverUpdated",
        fall=("BN-14",),
        says="they are never updated",
    ),
    Reported(
        number=13,
        thread="facebookresearch/detectron2#3160",
        fault="batch_norm.EpsSubtractedOnLoading",
        fall=("BN-15",),
        says="the running mean, and running_var - eps: eps is ignored in eval (eval_reads: ",
    ),
    *_both(
        14,
        "NVIDIA/apex#1845",
        "ElementsBeyondAMillion",
        ("GN-41", "BN-52"),
        "the elements from number 1,048,576 on are wrong (counted from 0)",
    ),
    *_both(
        14,
        "NVIDIA/apex#411",
        "SamplesFrom8On",
        ("GN-39", "BN-50"),
        "departs from 9 samples on, holds up to 8; the samples from number 8 on are wrong (counted from 0)",
    ),
    *_both(
        14,
        "many, as NVIDIA/apex#1845",
        "ChannelsFrom32On",
        ("GN-39", "BN-50"),
        "the channels from number 32 on are wrong (counted from 0)",
    ),
    *_both(
        15,
        "Oneflow-Inc/oneflow#9387",
        "SiluBehind",
        ("GN-50", "BN-61"),
        "the layer is followed by SiLU: y * sigmoid(y) (followed_by: ",
    ),
)


def fallen(records: Sequence[Record]) -> dict[str, Judgement]:
    return {one.requirement: one for one in records if isinstance(one, Judgement) and one.verdict in DIVERGENT}


def gate(folder: Path, records: Sequence[Record]) -> str:
    """What the gate says of results of which nothing is expected; it must end with 1."""
    start, *others = records
    assert isinstance(start, Header)
    kept = Folder(folder)
    kept.write(*others, name="port", footer=False, start=start)
    done = kept.gate("")
    assert done.exit_code == 1, done.output
    return done.output


def advice(records: Sequence[Record]) -> set[str | None]:
    """Every remedy, and every reason why there is none."""
    judged = [one for one in records if isinstance(one, Judgement)]
    return {text for one in judged for text in (one.remedy, one.not_mended) if text}


@pytest.mark.slow
@pytest.mark.parametrize("row", REPORTED, ids=lambda row: f"{row.number} {row.fault}")
def test_what_was_reported_is_said_in_one_sentence(row: Reported, tmp_path: Path) -> None:
    records = records_of(BY_ID[row.fault])
    found = fallen(records)
    assert set(found) == set(row.fall), {name: one.sentence for name, one in found.items()}
    assert len(found) <= 3
    assert row.says in found[row.fall[0]].sentence
    (profile,) = (one for one in records if isinstance(one, Profile))
    departed = [axis.axis for axis in profile.axes if axis.canonical not in axis.measured]
    assert profile.known
    assert len(departed) <= 1, departed
    axes = {axis.name: axis for axis in kind_of(profile.layer).axes}
    assert advice(records) <= {f"{WRITE} {axes[name].code}" for name in departed}, "a remedy that is for another cause"
    assert row.fall[0] in gate(tmp_path, records)


@pytest.mark.slow
def test_stored_sums_are_named_and_the_advice_on_momentum_is_not_given() -> None:
    """BVLC/caffe#4885, as a layer that takes momentum=None for 0.1: a momentum of 1/t would make it worse."""
    records = records_of(BY_ID["batch_norm.SumsWithAFactor"])
    found = fallen(records)
    assert "sums that are divided by a factor where they are read" in found["BN-09"].sentence
    assert found["BN-05"].verdict == "diverges"
    (code,) = (axis.code for axis in kind_of("batch_norm").axes if axis.name == "bootstrap")
    assert advice(records) == {f"{WRITE} {code}"}


# --- what gives no result is no conformance ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["group_norm", "batch_norm"])
def test_a_layer_whose_every_call_raises_conforms_to_nothing(kind: str, tmp_path: Path) -> None:
    """Not to what asks for a refusal, either."""
    records = records_of(BY_ID[f"{kind}.EveryCallRaises"])
    assert [one for one in records if isinstance(one, Judgement | Profile)] == []
    (told,) = (one for one in records if isinstance(one, NotRun))
    assert told.failed
    assert "unexpected keyword argument 'training'" in told.reason
    assert "nothing was measured" in gate(tmp_path, records)


ADAPTER: Final = """
from faulty.faults.table import FaultsAdapter


class Mine(FaultsAdapter):
    def __init__(self, dtype):
        raise ImportError("libfoo.so: cannot open shared object file")
"""


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that are found."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "nothing.toml").write_text("")
    return tmp_path


def run_and_gate(folder: Path, adapter: str) -> tuple[int, int, str]:
    """The exit codes of a run and of the gate on what it left, and all that the gate said."""
    out = folder / "results"
    words = ["--in-process", "--dtype", "float32", "--budget", "none", "--out", str(out), "--name", "port"]
    run = CliRunner().invoke(main, ["run", adapter, *words])
    done = CliRunner().invoke(main, ["gate", str(out), "--expectations", str(folder / "nothing.toml")])
    return run.exit_code, done.exit_code, done.output


def test_an_adapter_whose_framework_cannot_be_imported_does_not_gate_green(adapters: Path) -> None:
    (adapters / "reported_late.py").write_text(ADAPTER)
    run, gated, said = run_and_gate(adapters, "reported_late:Mine")
    assert (run, gated) == (3, 1)
    assert "could not be run: " in said
    assert "libfoo.so: cannot open shared object file" in said
    assert not fallen(read_records(adapters / "results" / "port.jsonl"))


def test_an_adapter_whose_module_cannot_be_imported_leaves_nothing_to_gate(adapters: Path) -> None:
    (adapters / "reported_early.py").write_text("import a_framework_that_nobody_has\n")
    run, gated, said = run_and_gate(adapters, "reported_early:Mine")
    assert (run, gated) == (2, 2)
    assert "cannot be read" in said


# --- two arrays and the oracle ------------------------------------------------------------------------------


def fitting(x: Array, y: Array, eps: float) -> list[Semantics]:
    """The semantics that can make ``y`` of ``x`` in two groups, of those that somebody ships."""
    return [one for one in candidates("group_norm") if not group_norm(x, 2, eps=eps, semantics=one).excludes(y)]


def by_hand(x: Array, eps: float, ddof: int) -> Array:
    """The formula of the thread: the divisor is n - ddof, by groups of two channels."""
    sets = x.reshape(len(x), 2, -1)
    mean, var = sets.mean(axis=2, keepdims=True), sets.var(axis=2, keepdims=True, ddof=ddof)
    return np.asarray((sets - mean) / np.sqrt(var + eps)).reshape(x.shape)


@pytest.mark.parametrize(("ddof", "divisor"), [(0, "biased"), (1, "unbiased")])
def test_two_arrays_say_which_divisor_made_the_one_of_the_other(ddof: int, divisor: str) -> None:
    """pytorch/pytorch#22617."""
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 3))
    y = by_hand(x, 1e-5, ddof)
    assert {one.choices["variance"] for one in fitting(x, y, 1e-5)} == {divisor}
    assert fitting(x, y, 1e-3) == []  # another eps


def identified(folder: Path, *words: str, **arrays: Array) -> tuple[int, str]:
    """The exit code of ``normgauge identify`` on files of these arrays, and its answer on one line."""
    files = []
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
        files += [f"--{name.replace('_', '-')}", str(folder / f"{name}.npy")]
    done = CliRunner().invoke(main, ["identify", *files, *words])
    return done.exit_code, " ".join(done.output.split())


def test_two_outputs_of_half_a_million_values_are_the_same_to_rounding(tmp_path: Path) -> None:
    """Row 16: pytorch/pytorch#94261, keras-team/keras#19649, pytorch/pytorch#8283."""
    words = "--groups", "1", "--eps", "1e-5", "--layout", "channels_first"
    x = np.random.default_rng(0).normal(0, 1, (1, 4, 512, 256)).astype(np.float32)
    y, other = in_one_pass(x), exactly(x)
    code, said = identified(tmp_path, *words, x=x, y=y, other=other)
    assert (code, said.partition(" difference ")[0]) == (0, "the same to rounding: both are canonical")
    assert "typical error" in said
    x = x[:, :, :4, :8]
    code, said = identified(tmp_path, *words, x=x, y=in_one_pass(x), other=np.roll(exactly(x), 1, axis=1))
    assert (code, said.partition(" difference ")[0]) == (1, "not the same: y is canonical, other is not")


def in_one_pass(x: Array) -> Array:
    mean, squares = x.mean(), np.square(x).mean()
    return np.asarray((x - mean) / np.sqrt(squares - mean * mean + np.float32(1e-5)))


def exactly(x: Array) -> Array:
    exact = x.astype(np.float64)
    return np.asarray((exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)).astype(np.float32)


def test_an_own_formula_is_named_from_two_files(tmp_path: Path) -> None:
    """Row 17: pytorch/pytorch#22617, pytorch/pytorch#25244."""
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 3, 3)).astype(np.float32)
    code, said = identified(tmp_path, x=x, y=by_hand(x.astype(np.float64), 1e-5, ddof=1).astype(np.float32))
    assert code == 1
    assert "the sum of squares is divided by n - 1" in said
    code, said = identified(tmp_path, x=x, y=by_hand(x.astype(np.float64), 1e-3, ddof=0).astype(np.float32))
    assert (code, "eps 0.001" in said) == (0, True)


def test_a_fold_whose_bias_is_not_scaled_is_named(tmp_path: Path) -> None:
    """Row 18: XiaoMi/mace#262."""
    random = np.random.default_rng(0)
    kernel, own = random.normal(0, 1, (4, 3, 2, 2)), random.normal(0, 1, 4)
    mean, var, weight, bias = random.normal(0, 1, 4), random.uniform(0.5, 2, 4), random.normal(1, 1, 4), np.arange(4.0)
    scale = weight / np.sqrt(var + 1e-5)
    given = {"conv_weight": kernel, "conv_bias": own, "running_mean": mean, "running_var": var}
    given |= {"weight": weight, "bias": bias, "folded_weight": kernel * scale[:, None, None, None]}
    code, said = identified(tmp_path, "--eps", "1e-5", **given, folded_bias=(own - mean) * scale + bias)
    assert (code, said.partition(" ")[0]) == (0, "canonical:")
    code, said = identified(tmp_path, "--eps", "1e-5", **given, folded_bias=own - mean * scale + bias)
    assert code == 1
    assert "not scaled" in said
