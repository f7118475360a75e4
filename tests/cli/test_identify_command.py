"""normgauge identify: arrays from files, exit codes, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from normgauge.conformance.cli.main import main

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 6, 4, 5)).astype(np.float32)
WEIGHT, BIAS = RNG.uniform(0.5, 2, 6).astype(np.float32), RNG.standard_normal(6).astype(np.float32)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, ["identify", *map(str, words)])


def made(eps: float = 1e-5) -> NDArray[Any]:
    sets = X.reshape(2, 3, -1)
    centred = sets - sets.mean(axis=2, keepdims=True)
    x_hat = (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + np.float32(eps))).reshape(X.shape)
    return x_hat * WEIGHT[:, None, None] + BIAS[:, None, None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", made())
    np.savez(tmp_path / "layer.npz", weight=WEIGHT, bias=BIAS)
    np.savez(tmp_path / "all.npz", x=X, y=made(), weight=WEIGHT, bias=BIAS)
    return tmp_path


def of(folder: Path) -> list[object]:
    layer = folder / "layer.npz"
    return ["--x", folder / "x.npy", "--y", folder / "y.npy", "--weight", f"{layer}:weight", "--bias", f"{layer}:bias"]


def test_files_of_a_canonical_layer_end_with_0(folder: Path) -> None:
    result = invoke(*of(folder), "--groups", 3, "--eps", 1e-5)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("canonical: GroupNorm(num_groups=3, eps=1e-05)\n")


def test_one_file_with_everything_needs_no_option(folder: Path) -> None:
    result = invoke(folder / "all.npz", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["verdict"] == "canonical"


def test_another_eps_ends_with_1_and_is_named(folder: Path) -> None:
    np.save(folder / "y.npy", made(2e-3))
    result = invoke(*of(folder), "--groups", 3, "--eps", 1e-5)
    assert result.exit_code == 1
    assert "eps is 0.002, not 1e-05" in result.output


def test_a_file_of_safetensors_is_read_with_its_types(folder: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    arrays = {"x": X.astype(np.float16), "y": made().astype(np.float16), "weight": WEIGHT, "bias": BIAS}
    save_file({**arrays, "steps": np.array([3])}, folder / "all.safetensors")
    result = invoke(folder / "all.safetensors", "--groups", 3)
    assert "results of float16" in result.output


def test_without_safetensors_one_line_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.safetensors").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke(folder / "a.safetensors")
    assert result.exit_code == 2
    assert "python -m pip install 'normgauge[safetensors]'" in result.output


@pytest.mark.frameworks
@pytest.mark.slow
def test_a_checkpoint_of_torch_is_read_without_unpickling_objects(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.GroupNorm(3, 6)
    torch.save(layer.state_dict(), folder / "layer.pt")
    np.save(folder / "y.npy", layer(torch.from_numpy(X)).detach().numpy())
    said = ["--x", folder / "x.npy", "--y", folder / "y.npy", "--groups", 3]
    said += ["--weight", f"{folder / 'layer.pt'}:weight", "--bias", f"{folder / 'layer.pt'}:bias"]
    assert invoke(*said).exit_code == 0
    torch.save(layer, folder / "layer.pt")
    result = invoke(*said)
    assert result.exit_code == 2
    assert "has more than arrays, and is not read" in result.output


def test_two_outputs_without_x_are_compared(folder: Path) -> None:
    np.save(folder / "other.npy", made(2e-3))
    result = invoke("--y", folder / "y.npy", "--other", folder / "other.npy")
    assert result.exit_code == 1
    assert result.output.startswith("not the same: give x to find out which of the two is wrong")
    same = invoke("--y", folder / "y.npy", "--other", folder / "y.npy")
    assert (same.exit_code, same.output.splitlines()[0]) == (0, "equal")


def test_a_fold_whose_bias_is_not_scaled_is_named(folder: Path) -> None:
    kernel, scale = RNG.standard_normal((6, 2, 3)).astype(np.float32), WEIGHT / np.sqrt(np.float32(2))
    arrays = {
        "conv_weight": kernel,
        "conv_bias": BIAS,
        "running_mean": np.full(6, 0.5, np.float32),
        "running_var": np.full(6, 2, np.float32),
        "weight": WEIGHT,
        "folded_weight": kernel * scale[:, None, None],
        "folded_bias": BIAS - np.float32(0.5) * scale,
    }
    np.savez(folder / "fold.npz", **arrays)
    result = invoke(folder / "fold.npz", "--eps", 0)
    assert result.exit_code == 1
    assert "the bias of the convolution is not scaled" in result.output


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": X, "y": X[:1]}, [], r"y has shape (1, 6, 4, 5), x has (2, 6, 4, 5)"),
        ({"x": X, "y": np.where(X > 2, np.nan, X)}, [], "elements that are no finite numbers"),
        ({"x": X, "y": X.astype(np.int64)}, [], "y has dtype int64; allowed: bfloat16, float16, float32, float64"),
        ({"x": X}, [], "nothing to explain: give y"),
        ({"y": X}, [], "x is missing"),
        ({"a": X}, [], "has no array by one of these names"),
        ({"x": X, "y": X, "weight": WEIGHT[:3]}, [], "weight has 3 numbers; x of shape (2, 6, 4, 5) has 6 channels"),
        ({"x": X, "y": X}, ["--groups", 4, "--layout", "channels_first"], "num_groups is 4; x of shape (2, 6, 4, 5)"),
        ({"x": X, "y": X}, ["--groups", 0], "num_groups is 0; allowed: a whole number from 1 on"),
        ({"x": X, "y": X}, ["--mode", "eval"], "eval needs running_mean and running_var"),
        ({"x": X, "y": X, "running_mean": BIAS}, ["--groups", 3], "running_mean belongs to BatchNorm"),
        ({"x": X, "dx": X}, [], "gradients need dy"),
        ({"x": X, "y": X, "eps": X}, ["--eps", "nan"], "eps is nan; allowed: a finite number"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arrays: dict[str, Any], options: list[object], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    result = invoke(tmp_path / "a.npz", *options)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.npy", "is no file"),
        ("a.txt", "is of no known format; allowed: .npy, .npz"),
        ("all.npz:z", "has no array 'z'; it has: x, y, weight, bias"),
        ("all.npz", "has several arrays; name one, such as"),
        ("objects.npy", "has an array of Python objects"),
        ("cut.npz", "cannot be read as .npz"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(folder: Path, name: str, said: str) -> None:
    np.save(folder / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    (folder / "cut.npz").write_bytes((folder / "all.npz").read_bytes()[:100])
    result = invoke("--x", folder / name, "--y", folder / "y.npy")
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert len(result.output.splitlines()) == 1
