"""Every ordered pair of layers as Markdown tables: the largest difference, and what cannot be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from normgauge.conformance.comparison.sources import Sources
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.recipes.layers import RecipeLayer, layers_of
from normgauge.conformance.recipes.recipe import Recipe, recipe_of
from normgauge.conformance.recipes.verify import Verified

#: In place of a difference: the recipe was not run, no code can be written.
NOT_RUN: Final = "not run"
NONE: Final = "none"


def every_recipe(sources: Sources, frameworks: Iterable[str]) -> list[Recipe]:
    """The recipe of every ordered pair of layers of one kind."""
    layers = [one for framework in frameworks for one in layers_of(sources, framework)]
    return [recipe_of(source, target, _others(target, layers)) for source, target in _pairs(layers)]


def _pairs(layers: Sequence[RecipeLayer]) -> Iterator[tuple[RecipeLayer, RecipeLayer]]:
    for source in layers:
        for target in layers:
            if source.id != target.id and source.implementation.layer == target.implementation.layer:
                yield source, target


def _others(target: RecipeLayer, layers: Iterable[RecipeLayer]) -> list[RecipeLayer]:
    own = target.implementation
    return [
        one
        for one in layers
        if (one.framework, one.implementation.class_path) == (target.framework, own.class_path) and one.id != own.id
    ]


def tables(recipes: Sequence[Recipe], verified: Iterable[Verified]) -> Iterator[str]:
    """The lines of a table for each kind of layer, with the legend of its letters."""
    found = {id(one.recipe): one for one in verified}
    for kind in layer_kinds().values():
        own = [one for one in recipes if one.source.implementation.layer == kind.name]
        ids = list(dict.fromkeys(one.source.id for one in own))
        letters = {reason: chr(ord("a") + number) for number, reason in enumerate(_reasons(own))}
        yield from (f"### {kind.title}", "", f"| | {' | '.join(str(n + 1) for n in range(len(ids)))} |")
        yield f"| --- |{' --- |' * len(ids)}"
        by_pair = {(one.source.id, one.named.id): one for one in own}
        for number, row in enumerate(ids, start=1):
            cells = [_cell(by_pair.get((row, column)), found, letters) for column in ids]
            yield f"| {number} `{row}` | {' | '.join(cells)} |"
        yield ""
        yield from (f"- {letter}: {reason}" for reason, letter in letters.items())
        yield ""


def _reasons(recipes: Iterable[Recipe]) -> list[str]:
    """What is not done, in the words before the colon: those after it name the layers of one pair."""
    return sorted({text.partition(":")[0] for one in recipes for text in (*one.plan.limits, *one.plan.impossible)})


def _cell(recipe: Recipe | None, found: Mapping[int, Verified], letters: Mapping[str, str]) -> str:
    if recipe is None:
        return "–"
    own = found.get(id(recipe))
    marks = " ".join(letters[text.partition(":")[0]] for text in (*recipe.plan.limits, *recipe.plan.impossible))
    size = NONE if not recipe.code else NOT_RUN if own is None else own.failed or format(own.worst, ".2f")
    return f"{size} {marks}".strip()
