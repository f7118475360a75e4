"""normgauge recipe: the code to write with one layer in place of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from normgauge.adapters.registry import NoAdapter
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.sides import NotComparable
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes.layers import DTYPE, layer_named
from normgauge.conformance.recipes.recipe import Recipe, recipe_for
from normgauge.conformance.recipes.verify import Verified, verify
from normgauge.conformance.subjects.subject import CannotRun
from normgauge.results.file import BrokenResults

_FOLD = "to fold a BatchNorm into the layer before it: normgauge.fold_batch_norm; to check: normgauge identify"


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--verify", "verifies", is_flag=True, help="Run both layers and compare; both frameworks are needed.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="FRAMEWORK=PATH",
    help="With --verify: interpreter that has a framework (repeatable).  [default: this one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the recipe as one JSON object.")
@ended_by_signals()
def recipe(source: str, target: str, verifies: bool, pythons: tuple[str, ...], as_json: bool) -> None:
    """Print the code to write with the layer TO in place of the layer FROM.

    The code is a Python module with the functions make_layer, set_state, get_state and call. It is made from the
    measured profiles of the two layers, in float32. Its first lines say what the code does and does not do. FROM and TO
    are ids that `normgauge list` shows; @RELEASE or @now selects another profile than the newest shipped one.

    --verify runs FROM and the code on generated cases: in training, in eval, and after conversion of a trained state.
    It prints the largest difference in units of the bound, which is the sum of the error bounds of both layers.
    Exits with 1 if no code can be written, or if a difference is larger than the bound.

    Example: normgauge recipe torch.nn.BatchNorm2d "keras.layers.BatchNormalization[jax]"
    """
    if pythons and not verifies:
        raise Mistake("--python has no effect without --verify; add --verify, or leave --python out")
    interpreters = dict(map(_interpreter, pythons))
    sources = Sources(folders=[Path("build/results")], measure=Measuring(dtypes=(DTYPE,)), prefer=SHIPPED)
    try:
        made = recipe_for(sources, layer_named(sources, source), layer_named(sources, target))
        found = verify([made], interpreters) if verifies else []
    except (NotComparable, BrokenResults, NoAdapter) as error:
        raise Mistake(str(error)) from None
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    if as_json:
        click.echo(json.dumps(_data(made, found), indent=1, ensure_ascii=False))
    else:
        for line in _lines(made, found):
            click.echo(line)
    if not made.code or not all(one.agrees for one in found):
        raise click.exceptions.Exit(1)


def _interpreter(text: str) -> tuple[str, str]:
    framework, equals, path = text.partition("=")
    if not (framework and equals and Path(path).is_file()):
        raise Mistake(f"--python {text}: needs FRAMEWORK=PATH with the path of an interpreter, such as mlx=/opt/python")
    return framework, path


def _lines(made: Recipe, found: list[Verified]) -> list[str]:
    if not made.code:
        reasons = [f"  {one}" for one in made.plan.impossible]
        return [f"no code with {made.target.id} computes what {made.source.id} computes:", *reasons]
    lines = [made.code.rstrip()]
    if kind_of(made.source.implementation.layer).tracks:
        lines += ["", f"# {_FOLD}"]
    for one in found:
        lines.append("")
        if one.failed:
            lines.append(f"# verification failed: {one.failed}")
            continue
        cases = f"# verified on {one.cases} cases" + (f", {one.refused} of them refused by both" if one.refused else "")
        lines += [f"{cases}; largest difference, in units of the bound:"]
        lines += [f"#   {phase}: {size:.2g}" for phase, size in one.largest.items()]
        lines += [f"#   the largest: {one.where}"] if one.where else []
    return lines


def _data(made: Recipe, found: list[Verified]) -> dict[str, Any]:
    verified = [
        {
            "agrees": one.agrees,
            "cases": one.cases,
            "refused": one.refused,
            "largest": dict(one.largest),
            "where": one.where,
            "failed": one.failed,
        }
        for one in found
    ]
    return {
        "from": made.source.id,
        "to": made.target.id,
        "code": made.code,
        "does": [*made.plan.notes, *made.remarks],
        "does_not": list(made.plan.limits),
        "impossible": list(made.plan.impossible),
        "verified": verified[0] if verified else None,
    }
