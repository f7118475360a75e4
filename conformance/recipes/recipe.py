"""A recipe: the plan for two layers, and the code that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from normgauge.conformance.comparison.sources import Sources
from normgauge.conformance.recipes.code import code_of
from normgauge.conformance.recipes.layers import RecipeLayer, siblings
from normgauge.conformance.recipes.plan import Plan, changes, loses_digits, plan_of


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The code to write with ``target`` in place of ``source``; empty where none can be written.

    ``target`` may be constructed otherwise than the layer that was ``named``; ``remarks`` say so.
    """

    source: RecipeLayer
    target: RecipeLayer
    named: RecipeLayer
    plan: Plan
    code: str
    remarks: tuple[str, ...] = ()


def recipe_of(source: RecipeLayer, target: RecipeLayer, others: Sequence[RecipeLayer] = ()) -> Recipe:
    """The recipe for two layers. Of ``others``, those that construct the target's class otherwise may replace it.

    One does where the target was named without options, and the code then has less to do; it keeps the layout.
    """
    remarks: list[str] = []
    named, layout = target, target.implementation.layout
    if not target.implementation.options:
        fitting = [one for one in others if one.implementation.layout == layout and one.id != source.id]
        best = min([target, *fitting], key=lambda one: changes(source, one))
        if best is not target:
            options = ", ".join(f"{name}={value}" for name, value in best.implementation.options.items())
            gained = loses_digits(source, target) and not loses_digits(source, best)
            what = "is as accurate as" if gained else "computes the same formulas as"
            remarks.append(f"constructed with {options}, which {what} {source.id}")
            target = best
    wanted = source.implementation.layout
    if wanted != layout:
        remarks += [
            f"{one.id} takes x in the layout of {source.id}; its recipe moves no axis"
            for one in others
            if one.implementation.layout == wanted
        ]
    plan = plan_of(source, target)
    code = "" if plan.impossible else code_of(source, target, plan, remarks)
    return Recipe(source=source, target=target, named=named, plan=plan, code=code, remarks=tuple(remarks))


def recipe_for(sources: Sources, source: RecipeLayer, target: RecipeLayer) -> Recipe:
    """The same, with what the newest shipped profile has of the target's class."""
    return recipe_of(source, target, siblings(sources, target))
