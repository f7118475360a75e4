"""normgauge identify: which semantics made the arrays of some files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.identify.arrays import CannotIdentify
from normgauge.conformance.identify.files import bundle, read
from normgauge.conformance.identify.identify import identify as identified
from normgauge.conformance.identify.known import ARRAYS, LAYERS, LAYOUTS

_HELP: Final = {
    "x": "Input of the layer, of shape (N, C, ...) or (N, ..., C).",
    "y": "Output of the layer, of the shape of x.",
    "dy": "Gradient of the output.",
    "dx": "Gradient of the input.",
    "weight": "Weight, of shape (C,).",
    "bias": "Bias, of shape (C,).",
    "running_mean": "Running mean before the call, of shape (C,).",
    "running_var": "Running variance before the call, of shape (C,).",
    "dweight": "Gradient of the weight.",
    "dbias": "Gradient of the bias.",
    "running_mean_after": "Running mean after the call.",
    "running_var_after": "Running variance after the call.",
}


def _with_arrays(command: Callable[..., None]) -> Callable[..., None]:
    for name in reversed(ARRAYS):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, metavar="FILE[:KEY]", help=_HELP[name])(command)
    return command


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_with_arrays
@click.option("--other", metavar="FILE[:KEY]", help="Another output, to compare with y.")
@click.option("--layer", type=click.Choice(LAYERS), help="Kind of layer.")
@click.option("--groups", "num_groups", type=int, help="Number of groups of GroupNorm.")
@click.option("--eps", type=float, help="eps as it was given to the layer.")
@click.option("--momentum", type=float, help="momentum as it was given to the layer.")
@click.option("--mode", type=click.Choice(["training", "eval"]), help="Mode of BatchNorm.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="Where the channels stand.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def identify(file: Path | None, other: str | None, mode: str | None, *, as_json: bool, **given: Any) -> None:
    """Find out which GroupNorm or BatchNorm computed y from x, and whether the difference is rounding.

    FILE is an .npz, .safetensors, .pt or .pth file with arrays named x, y, weight, bias, running_mean, ... Each array
    can be given by an option, too, as FILE or FILE:KEY. What is not given is searched for.

    Exit codes: 0 canonical, 1 another formula or none that is known, 2 a mistake in the command or the arrays.

    Example: normgauge identify --x x.npy --y y.npy --weight bn.npz:weight --groups 32
    """
    training = None if mode is None else mode == "training"
    try:
        arrays = {} if file is None else bundle(file)
        arrays |= {name: read(given[name]) for name in ARRAYS if given[name] is not None}
        settings = {name: value for name, value in given.items() if name not in ARRAYS}
        second = None if other is None else read(other)
        if "x" not in arrays and second is None:
            raise CannotIdentify("x is missing: give a FILE with an array named x, or --x FILE")
        found = identified(arrays.pop("x", None), other=second, training=training, **arrays, **settings)
    except CannotIdentify as error:
        raise Mistake(str(error)) from None
    click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else str(found))
    raise SystemExit(found.exit_code)
