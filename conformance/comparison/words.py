"""A comparison in words: lines for a terminal, Markdown, and data for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from normgauge.conformance.comparison.changes import Compared, Comparison, Difference
from normgauge.conformance.comparison.effects import Effect
from normgauge.conformance.comparison.sides import Member, Side
from normgauge.conformance.layers.registry import kind_of
from normgauge.results.facts import ABSENT, Change, Value

#: The words for a change where A and B are different implementations.
BESIDE: Final[Mapping[Change, str]] = {
    "newly different": "different in B alone",
    "newly the same": "different in A alone",
    "changed value": "another value",
    "changed class": "another accuracy class",
    "no longer supported": "supported by A alone",
    "newly supported": "supported by B alone",
    "no longer decided": "decided for A alone",
    "newly decided": "decided for B alone",
}
_SUBJECTS: Final = {"statistics": "accuracy class", "dtype": "dtype"}


def lines_of(comparison: Comparison) -> Iterator[str]:
    """The comparison as lines of text."""
    yield f"A: {side_in_words(comparison.a)}"
    yield f"B: {side_in_words(comparison.b)}"
    for one in comparison.compared:
        yield ""
        yield from _lines_of_pair(one)
    yield ""
    yield from (f"no longer supported: {name}: {comparison.b.name} does not have it" for name in comparison.lost)
    yield from (f"newly supported: {name}: {comparison.a.name} does not have it" for name in comparison.new)
    yield from comparison.remarks
    yield summary(comparison)


def _lines_of_pair(one: Compared) -> Iterator[str]:
    yield f"{_heading(one)} ({', '.join(one.dtypes) or 'no common dtype'})"
    if one.pair.why and not one.pair.same:
        yield f"  paired: {one.pair.why}"
    yield from (f"  {name}: A {a}; B {b}" for name, a, b in _inputs(one))
    for difference in one.differences:
        yield f"≠ {change_in_words(one, difference)}: {question_of(one.pair.a, difference)}{_at(one, difference)}"
        yield f"    A: {value_in_words(difference.a)}"
        yield f"    B: {value_in_words(difference.b)}"
        if difference.effect:
            yield f"    numbers: {in_numbers(difference.effect)}"
    for case in _cases(one):
        yield f"  case of the numbers: {case}"
    yield from (f"? {change_in_words(one, item)}: {item.subject}" for item in one.open)
    yield from (f"? not compared, {text}" for text in one.not_compared)
    yield f"= {_same(one)}"


def _inputs(one: Compared) -> Iterator[tuple[str, str, str]]:
    """Layout and ranks of the inputs, where they are not the same; an adapter says them, and nothing measures them."""
    a, b = (next(iter(member.profiles.values())) for member in (one.pair.a, one.pair.b))
    if a.layout != b.layout:
        yield "layout of an input", a.layout, b.layout
    if a.ranks != b.ranks:
        yield "ranks of an input", ", ".join(map(str, a.ranks)), ", ".join(map(str, b.ranks))


def summary(comparison: Comparison) -> str:
    """The last line: how many differences of each sort there are."""
    counts: dict[str, int] = {}
    for one in comparison.compared:
        for difference in one.differences:
            words = change_in_words(one, difference)
            counts[words] = counts.get(words, 0) + 1
    for words, names in (("no longer supported", comparison.lost), ("newly supported", comparison.new)):
        if names:
            counts[words] = counts.get(words, 0) + len(names)
    same = sum(sum(one.same.values()) for one in comparison.compared)
    if not counts:
        return f"the same: {same} equal facts in {_pairs(comparison)}"
    told = ", ".join(f"{count} {words}" for words, count in counts.items())
    return f"different: {told}; {same} equal facts in {_pairs(comparison)}"


def _pairs(comparison: Comparison) -> str:
    count = len(comparison.compared)
    return "1 pair of layers" if count == 1 else f"{count} pairs of layers"


def side_in_words(side: Side) -> str:
    """The name of a side and where it comes from."""
    return f"{side.name} ({side.origin})"


def _heading(one: Compared) -> str:
    title = kind_of(one.pair.a.layer).title
    if one.pair.same:
        return f"{title}: {one.pair.a.name} in A and in B"
    return f"{title}: A {one.pair.a.name}, B {one.pair.b.name}"


def change_in_words(one: Compared, difference: Difference) -> str:
    """The sort of a difference: what changed, or which side has it where these are different implementations."""
    return difference.change if one.pair.same else BESIDE[difference.change]


def question_of(member: Member, difference: Difference) -> str:
    """What a difference is about: the question of an axis, or the subject."""
    if difference.kind in {"semantics", "documentation"}:
        axis = next((one for one in kind_of(member.layer).axes if one.name == difference.subject), None)
        question = axis.question if axis else difference.subject
        return question if difference.kind == "semantics" else f"documentation: {question}"
    return _SUBJECTS.get(difference.kind, difference.subject)


def _at(one: Compared, difference: Difference) -> str:
    if difference.kind == "dtype" or len(difference.dtypes) < len(one.dtypes):
        return f" ({', '.join(difference.dtypes)})"
    return ""


def value_in_words(value: Value) -> str:
    """A value with its meaning; ``none`` for a default that the signature does not have."""
    return "none" if value.text == ABSENT else value.worded


def in_numbers(effect: Effect) -> str:
    """What a difference does to an element of the stated case."""
    return f"{effect.where}: {effect.a} in A, {effect.b} in B"


def _cases(one: Compared) -> list[str]:
    return list(dict.fromkeys(difference.effect.case.words for difference in one.differences if difference.effect))


_PLURALS: Final = {
    "semantics": "axes", "default": "defaults", "requirement": "requirements", "type": "types",
    "statistics": "accuracy classes", "dtype": "dtypes", "documentation": "claims",
}  # fmt: skip


def _same(one: Compared) -> str:
    told = [f"{_PLURALS[kind]} {count}" for kind, count in one.same.items() if count]
    return f"equal facts: {', '.join(told) or 'none'}"


# --- Markdown and JSON --------------------------------------------------------------------------


def markdown_of(comparison: Comparison) -> str:
    """The comparison as a page of Markdown: a table for each pair."""
    lines = [f"# {_cell(comparison.a.name)} and {_cell(comparison.b.name)}", ""]
    lines += [f"- A: {side_in_words(comparison.a)}", f"- B: {side_in_words(comparison.b)}", ""]
    for one in comparison.compared:
        lines += [f"## {_heading(one)}", ""]
        if one.pair.why and not one.pair.same:
            lines += [f"Paired: {one.pair.why}.", ""]
        lines += [f"{name.capitalize()}: A {a}; B {b}.\n" for name, a, b in _inputs(one)]
        if one.differences:
            lines += ["| difference | subject | dtypes | A | B | in numbers |", "| --- | --- | --- | --- | --- | --- |"]
            lines += [_row(one, difference) for difference in one.differences]
            lines.append("")
        lines += [f"Case of the numbers: {case}." for case in _cases(one)]
        lines += [f"Equal facts: {_same(one).partition(': ')[2]}.", ""]
    notes = [f"no longer supported: {name}" for name in comparison.lost]
    notes += [f"newly supported: {name}" for name in comparison.new]
    lines += [f"- {note}" for note in (*notes, *comparison.remarks)]
    return "\n".join([*lines, "", summary(comparison)]) + "\n"


def _row(one: Compared, difference: Difference) -> str:
    cells = [
        change_in_words(one, difference),
        question_of(one.pair.a, difference),
        ", ".join(difference.dtypes),
        value_in_words(difference.a),
        value_in_words(difference.b),
        in_numbers(difference.effect) if difference.effect else "",
    ]
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def data_of(comparison: Comparison) -> dict[str, Any]:
    """The comparison as data for JSON."""
    return {
        "same": comparison.same,
        "a": _side(comparison.a),
        "b": _side(comparison.b),
        "pairs": [_pair(one) for one in comparison.compared],
        "no_longer_supported": list(comparison.lost),
        "newly_supported": list(comparison.new),
        "remarks": list(comparison.remarks),
    }


def _side(side: Side) -> dict[str, Any]:
    return {"name": side.name, "origin": side.origin, "implementations": list(side.members)}


def _pair(one: Compared) -> dict[str, Any]:
    return {
        "layer": one.pair.a.layer,
        "a": one.pair.a.name,
        "b": one.pair.b.name,
        "why": one.pair.why,
        "dtypes": list(one.dtypes),
        "inputs": {name: {"a": a, "b": b} for name, a, b in _inputs(one)},
        "differences": [_difference(difference) for difference in one.differences],
        "undecided": [_difference(difference) for difference in one.open],
        "not_compared": list(one.not_compared),
        "equal": dict(one.same),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": difference.kind,
        "subject": difference.subject,
        "dtypes": list(difference.dtypes),
        "change": difference.change,
        "a": _value(difference.a),
        "b": _value(difference.b),
    }
    if effect := difference.effect:
        found["numbers"] = {"case": effect.case.words, "where": effect.where, "a": effect.a, "b": effect.b}
    return found


def _value(value: Value) -> dict[str, str]:
    return {"value": value.text, "meaning": value.meaning, "kind": value.kind}
