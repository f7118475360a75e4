"""normgauge identify: which semantics made the arrays of some files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.identify.answer import Identified
from normgauge.conformance.identify.arrays import CannotIdentify
from normgauge.conformance.identify.files import bundle, read
from normgauge.conformance.identify.fold import ARRAYS as OF_A_FOLD
from normgauge.conformance.identify.fold import identify_fold
from normgauge.conformance.identify.identify import identify as identified
from normgauge.conformance.identify.known import ARRAYS, LAYERS, LAYOUTS
from normgauge.conformance.identify.pair import Compared

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


#: Arrays of a fold that are no arguments of the other form.
_FOLD: Final = {
    "conv_weight": "Fold: weight of the convolution or linear layer before BatchNorm.",
    "conv_bias": "Fold: bias of that layer.",
    "folded_weight": "Fold: weight of the folded layer.",
    "folded_bias": "Fold: bias of the folded layer.",
}


def _with_arrays(command: Callable[..., None]) -> Callable[..., None]:
    for name, words in reversed({**_HELP, "other": "Another output, to compare with y.", **_FOLD}.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, metavar="FILE[:KEY]", help=words)(command)
    return command


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_with_arrays
@click.option("--layer", type=click.Choice(LAYERS), help="Kind of layer.")
@click.option("--groups", "num_groups", type=int, help="Number of groups of GroupNorm.")
@click.option("--eps", type=float, help="eps as it was given to the layer.")
@click.option("--momentum", type=float, help="momentum as it was given to the layer.")
@click.option("--mode", type=click.Choice(["training", "eval"]), help="Mode of BatchNorm.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="Where the channels stand.")
@click.option("--axis", type=int, help="Fold: axis of the output channels in the weight: 0 in torch, -1 in Keras.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def identify(file: Path | None, mode: str | None, axis: int | None, *, as_json: bool, **given: Any) -> None:
    """Find out which GroupNorm or BatchNorm computed y from x, and whether the difference is rounding.

    FILE is an .npz, .safetensors, .pt or .pth file with arrays named x, y, weight, bias, running_mean, ... Each array
    can be given by an option, too, as FILE or FILE:KEY. Settings that are not given are searched for. With
    --folded-weight or --folded-bias, check a BatchNorm that is folded into the layer before it.

    Exit codes: 0 canonical, 1 another formula or none that is known, 2 a mistake in the command or the arrays.

    Example: normgauge identify --x x.npy --y y.npy --weight bn.npz:weight --groups 32
    """
    try:
        arrays = {} if file is None else bundle(file, (*ARRAYS, "other", *_FOLD))
        arrays |= {name: read(given[name]) for name in (*ARRAYS, "other", *_FOLD) if given[name] is not None}
        settings = {name: given[name] for name in ("layer", "num_groups", "eps", "momentum", "layout")}
        if {"folded_weight", "folded_bias"} & {*arrays}:
            found: Identified | Compared = _fold(arrays, settings["eps"], axis)
        else:
            training = None if mode is None else mode == "training"
            own = {name: one for name, one in arrays.items() if name not in _FOLD}
            found = identified(**own, training=training, **settings)
    except CannotIdentify as error:
        raise Mistake(str(error)) from None
    click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else str(found))
    raise SystemExit(found.exit_code)


def _fold(arrays: dict[str, Any], eps: float | None, axis: int | None) -> Identified:
    settings: dict[str, Any] = {name: value for name, value in (("eps", eps), ("axis", axis)) if value is not None}
    other = [name for name in arrays if name not in OF_A_FOLD]
    if other:
        raise CannotIdentify(f"{other[0]} is no array of a fold; a fold has {', '.join(OF_A_FOLD)}")
    return identify_fold(**arrays, **settings)
