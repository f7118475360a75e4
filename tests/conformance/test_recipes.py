"""Recipes: the code of chosen pairs gives what the source gives, wrong code is found, and plans follow the axes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from normgauge.conformance.comparison.profiles import shipped
from normgauge.conformance.comparison.sides import NotComparable
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.conformance.recipes.layers import layer_named
from normgauge.conformance.recipes.recipe import Recipe, recipe_for
from normgauge.conformance.recipes.table import every_recipe
from normgauge.conformance.recipes.verify import Verified, verify

KERAS: Final = "keras.layers.{}Normalization[{}]"
PAIRS: Final = (
    ("torch.nn.GroupNorm", "mlx.nn.GroupNorm"),
    ("torch.nn.BatchNorm2d", "mlx.nn.BatchNorm"),
    ("torch.nn.GroupNorm", KERAS.format("Group", "jax")),
    ("torch.nn.BatchNorm2d", KERAS.format("Batch", "jax")),
    ("mlx.nn.GroupNorm", "torch.nn.GroupNorm"),
    ("mlx.nn.BatchNorm", "torch.nn.BatchNorm2d"),
    (KERAS.format("Group", "numpy"), "flax.nnx.GroupNorm"),
    (KERAS.format("Batch", "numpy"), "flax.linen.BatchNorm"),
)
#: Mistakes in the code of a pair: what is replaced by what.
MISTAKES: Final[Mapping[str, tuple[tuple[str, str], str, str]]] = {
    "a divisor that is forgotten": (PAIRS[3], " * (n / (n - 1))", ""),
    "a momentum that is not converted": (PAIRS[3], "momentum=1 - momentum", "momentum=momentum"),
    "channels in their own order": (PAIRS[4], ".reshape(-1, groups).T.ravel()", ""),
    "weights in their own order": (PAIRS[4], "value = value[order]", "pass"),
    "another eps": (PAIRS[0], "eps=eps", "eps=1e-3"),
    "one value per channel accepted": (PAIRS[3], "n == 1", "False"),
    "a state that is not converted": (PAIRS[1], '"running_mean": "running_mean",', ""),
}


def sources() -> Sources:
    def measured(*names: str) -> Any:
        raise AssertionError(f"{names} would be measured")

    return Sources(folders=[], measure=measured, prefer=SHIPPED)


def made(source: str, target: str) -> Recipe:
    own = sources()
    return recipe_for(own, layer_named(own, source), layer_named(own, target))


@pytest.fixture(scope="module")
def verified() -> dict[object, Verified]:
    """One run of each framework for all pairs and all mistakes."""
    recipes: dict[object, Recipe] = {pair: made(*pair) for pair in PAIRS}
    for name, (pair, right, wrong) in MISTAKES.items():
        assert right in recipes[pair].code, name
        recipes[name] = replace(recipes[pair], code=recipes[pair].code.replace(right, wrong))
    return dict(zip(recipes, verify(list(recipes.values())), strict=True))


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_the_code_gives_what_the_source_gives(verified: dict[object, Verified], pair: tuple[str, str]) -> None:
    found = verified[pair]
    assert found.agrees, (found.failed, found.largest, found.where)
    assert list(found.largest) == (["training", "eval", "after conversion"] if "Batch" in pair[0] else ["training"])
    assert found.refused == ("torch.nn.Batch" in pair[0] or pair[0] == "mlx.nn.BatchNorm")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_code_is_found(verified: dict[object, Verified], name: str) -> None:
    assert not verified[name].agrees


def test_the_options_that_compute_the_same_formulas_are_used() -> None:
    found = made("torch.nn.GroupNorm", "mlx.nn.GroupNorm")
    assert found.target.id == "mlx.nn.GroupNorm(pytorch_compatible=True)"
    assert not found.plan.permuted
    assert made("mlx.nn.GroupNorm", "torch.nn.GroupNorm").plan.permuted
    assert made("flax.nnx.GroupNorm", KERAS.format("Group", "jax")).plan.notes == ()
    assert made("torch.nn.GroupNorm", "flax.nnx.GroupNorm").target.id == "flax.nnx.GroupNorm(use_fast_variance=False)"


def test_another_release_has_another_recipe() -> None:
    now, before = (
        made(f"mlx@{release}::mlx.nn.BatchNorm", "torch.nn.BatchNorm2d") for release in ("shipped", "0.31.2")
    )
    assert (now.plan.factor, before.plan.factor) == ("", "(n - 1) / n")
    assert [text.partition(":")[0] for text in before.plan.limits][-1] == "one value per channel in training"


def test_no_code_is_written_for_another_kind_of_layer_or_formulas_that_no_setting_makes_equal() -> None:
    other = made("torch.nn.BatchNorm2d", "mlx.nn.GroupNorm")
    assert not other.code
    assert "BatchNorm layer" in other.plan.impossible[0]
    own = sources()
    source, target = layer_named(own, "torch.nn.GroupNorm"), layer_named(own, "lucid.nn.GroupNorm")
    axes = [
        type(one)(
            axis=one.axis, question=one.question, canonical=one.canonical, meanings=one.meanings,
            measured=["outside_sqrt"] if one.axis == "eps_placement" else one.measured,
        )
        for one in target.profile.axes
    ]  # fmt: skip
    profile = type(target.profile)(
        **{name: getattr(target.profile, name) for name in target.profile.__struct_fields__} | {"axes": axes}
    )
    found = recipe_for(own, source, replace(target, profile=profile))
    assert not found.code
    assert "no setting makes the two agree" in found.plan.impossible[0]


def test_positions_get_an_axis_where_the_release_refuses_what_its_documentation_takes() -> None:
    code = made("torch.nn.BatchNorm1d", "lucid.nn.BatchNorm1d").code
    assert "    if len(shape) != 3:\n        x = x.reshape((shape[0], shape[1], -1))\n" in code
    assert "reshape((" not in made("lucid.nn.BatchNorm1d", "torch.nn.BatchNorm1d").code


def test_the_page_has_every_pair_and_none_whose_code_failed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    tables = page.partition("<!-- recipes -->")[2].partition("<!-- end of recipes -->")[0]
    cells = [cell for line in tables.splitlines() if line.startswith("| ") for cell in line.strip("| ").split(" | ")]
    numbers = [float(cell.split()[0]) for cell in cells if re.match(r"\d\.\d\d", cell)]
    layers = [one.partition("`")[2].rstrip("`") for one in cells if "`" in one]
    kinds = [layer.count("Group") for layer in layers]
    assert len(numbers) == sum(n * (n - 1) for n in (kinds.count(1), kinds.count(0)))
    assert max(numbers) <= 1
    known = {one.source.id for one in every_recipe(sources(), [one.framework for one in shipped().values()])}
    assert set(layers) == known


def test_a_name_of_several_layers_is_refused() -> None:
    with pytest.raises(NotComparable, match=r"has several layers: name one of torch\.nn\.GroupNorm"):
        layer_named(sources(), "torch")


def test_every_pair_of_shipped_layers_has_code_that_python_reads() -> None:
    recipes = every_recipe(sources(), ["torch", "mlx", "keras-jax", "flax", "lucid"])
    assert len({(one.source.id, one.named.id) for one in recipes}) == len(recipes) == 10 * 9 + 13 * 12
    for one in recipes:
        compile(one.code, f"{one.source.id} to {one.target.id}", "exec")
        assert one.code


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("torch.nn.GroupNorm", KERAS.format("Group", "torch"), "fits no accuracy class"),
        ("torch.nn.GroupNorm", "flax.nnx.GroupNorm", ""),  # the code uses the option that computes two passes
        ("flax.nnx.GroupNorm", "torch.nn.GroupNorm", ""),
        ("torch.nn.GroupNorm", "mlx.nn.GroupNorm", ""),
    ],
)
def test_code_with_a_less_accurate_layer_says_so(source: str, target: str, said: str) -> None:
    told = [limit for limit in made(source, target).plan.limits if limit.startswith("accuracy: ")]
    assert len(told) == bool(said)
    assert all(said in limit for limit in told)
