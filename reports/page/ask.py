"""The question box at the top of the page, the data that its script reads, and the pairs that need no script."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from normgauge.reports.grouping import grouped, layer_titles
from normgauge.reports.page.alone import Alone, Line, answers_alone
from normgauge.reports.page.section import PageData, Section
from normgauge.reports.templating import printable
from normgauge.results.answers import PortDifference, PortPair, PortRecipe
from normgauge.results.records import Profile

#: The headings of differences, by what they change.
HEADINGS: Final = {
    "result": "Changes ordinary results",
    "rare": "Wrong results or exceptions on rare inputs",
    "convention": "Other conventions on rare inputs",
    "exactness": "Types and exactness",
}


@dataclass(frozen=True, kw_only=True)
class PortShown:
    """One layer in place of another: the differences by heading, each with the anchor of its evidence, and the code."""

    layer: str
    source: str
    target: str
    pair: PortPair | None
    differences: tuple[tuple[str, tuple[tuple[PortDifference, str], ...]], ...]
    recipe: PortRecipe | None


@dataclass(frozen=True, kw_only=True)
class PortsShown:
    """Every layer of one framework in place of those of another."""

    anchor: str
    source: str
    target: str
    ports: tuple[PortShown, ...]


def popular(page: PageData) -> list[PortsShown]:
    """From the usual framework to every other, and back, in their newest releases; of a single one, its releases."""
    usual = page.usual
    shown = page.newest.values() if len(page.newest) > 1 else page.standing
    others = [one for one in shown if one != usual] if page.answers.pairs else []
    evidence = page.evidence
    found = []
    for source, target in [*((usual, one) for one in others), *((one, usual) for one in others)]:
        ports = tuple(_ports(page, source, target, evidence))
        if ports:
            anchor = page.anchors.new(f"port-{source}-{target}")
            found.append(PortsShown(anchor=anchor, source=source, target=target, ports=ports))
    return found


def _ports(page: PageData, source: str, target: str, evidence: Mapping[str, Mapping[str, str]]) -> Iterator[PortShown]:
    titles = layer_titles(page.all(Profile))
    answers = page.answers
    group = {name: number for number, own in enumerate(answers.groups) for name in own}
    pairs = {(one.a, one.b): one for one in answers.pairs}
    recipes = {(one.source, one.target): one for one in answers.recipes}
    for layer, a in page.standing[source].items():
        b = page.standing[target].get(layer)
        if b is None:
            continue
        pair = pairs.get((group.get(a, -1), group.get(b, -1)))
        numbers = pair.differences if pair else []
        by_weight = grouped((answers.differences[one] for one in numbers), lambda one: one.weight)
        yield PortShown(
            layer=titles[layer],
            source=a,
            target=b,
            pair=pair,
            differences=tuple(
                (HEADINGS[weight], tuple((one, _link(one, (b, a), evidence)) for one in own))
                for weight, own in by_weight.items()
            ),
            recipe=recipes.get((a, b)),
        )


def _link(one: PortDifference, whom: Sequence[str], evidence: Mapping[str, Mapping[str, str]]) -> str:
    """The anchor of the evidence in the first of these implementations that has one."""
    own = evidence.get(one.requirement, {})
    return next((own[name] for name in whom if name in own), "")


# --- what the script reads ----------------------------------------------------------------------


class _Numbered:
    """Texts, each once, by number."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.all.setdefault(printable(text), len(self.all))

    def runs(self, text: str) -> list[int]:
        """The lines of a text as runs of consecutive numbers: the first of each, and how many."""
        found: list[int] = []
        for number in map(self.number, text.rstrip("\n").split("\n")) if text else ():
            if found and number == found[-2] + found[-1]:
                found[-1] += 1
            else:
                found += [number, 1]
        return found


def data_of(page: PageData) -> dict[str, Any]:
    """The answers in few bytes: texts and lines of code are numbered."""
    answers, texts, lines = page.answers, _Numbered(), _Numbered()
    group = {name: number for number, own in enumerate(answers.groups) for name in own}
    profiles = {one.implementation: one for one in page.all(Profile)}
    plain = {page.names.of(name).without_mode: name for name, one in profiles.items() if one.mode == "eager"}
    differences = [
        [
            list(HEADINGS).index(one.weight),
            *(texts.number(text) for text in (one.subject, one.a, one.b, one.remedy)),
            one.requirement,
            ", ".join(one.dtypes),
            [texts.number(one.numbers.case), one.numbers.where, one.numbers.a, one.numbers.b] if one.numbers else 0,
        ]
        for one in answers.differences
    ]
    pairs = {
        f"{one.a} {one.b}": [
            texts.number(one.sentence),
            one.differences,
            texts.number(", ".join(one.dtypes)),
            one.equal,
        ]
        for one in answers.pairs
    }
    recipes = {
        f"{one.source}|{one.target}": [
            lines.runs(one.code),
            [texts.number(text) for text in one.impossible],
        ]
        for one in answers.recipes
    }
    code = {"script": page.scripts, "entry": page.entries}
    alone = {name: _alone(own, texts) for name, own in answers_alone(page).items() if name in group}
    return {
        "implementations": {
            name: {
                "framework": one.framework,
                "layer": one.layer,
                "group": group[name],
                "plain": plain.get(page.names.of(name).without_mode, name),
                "sheet": page.sheets.get(name, ""),
            }
            for name, one in profiles.items()
            if name in group
        },
        "alone": alone,
        "standing": page.standing,
        "layers": layer_titles(page.all(Profile)),
        "headings": [*HEADINGS.values()],
        "differences": differences,
        "pairs": pairs,
        "recipes": recipes,
        "evidence": page.evidence,
        "code": {kind: {anchor: lines.runs(text) for anchor, text in own.items()} for kind, own in code.items()},
        "texts": [*texts.all],
        "lines": [*lines.all],
    }


def _alone(own: Alone, texts: _Numbered) -> list[Any]:
    """The sentence, the errors, the hazards and the other differences of one implementation."""

    def numbered(one: Line) -> list[Any]:
        told = (texts.number(text) for text in (f"{one.requirement} {one.title}", one.word, one.said, one.remedy))
        return [one.requirement, *told, one.dtypes]

    return [
        texts.number(own.sentence),
        [numbered(one) for one in own.errors],
        [[texts.number(text), dtypes] for text, dtypes in own.hazards],
        [numbered(one) for one in own.others],
    ]


def as_block(data: Mapping[str, Any]) -> Markup:
    """The data as JSON, compressed, for an element ``script``: base64 cannot end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


# --- sections -----------------------------------------------------------------------------------


def _ask(page: PageData) -> Mapping[str, Any] | None:
    if not page.answers.groups:
        return None
    by_framework = grouped(page.all(Profile), lambda one: one.framework)
    others = [one for one in (page.newest.get("mlx", ""), *page.newest.values(), *page.standing) if one]
    titles = layer_titles(page.all(Profile))
    return {
        "choices": [
            (framework, list(dict.fromkeys(one.implementation for one in own)))
            for framework, own in by_framework.items()
        ],
        "standing": list(page.standing),
        "usual": page.usual,
        "sheets": [
            (framework, [(titles[layer], name, page.sheets[name]) for layer, name in own.items()])
            for framework, own in ((one, page.standing[one]) for one in page.newest.values())
        ],
        "first": next((one for one in others if one != page.usual), page.usual),
    }


def _where_ports(page: PageData) -> Mapping[str, Any] | None:
    return {} if page.ports else None


SECTION: Final = Section(
    id="ask", title="Which layers differ, and what do I write instead?", template="ask.html", content=_ask, listed=False
)
PORTS: Final = Section(id="ports", title="From one framework to another", template="ports.html", content=_where_ports)
