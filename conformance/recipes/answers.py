"""Answers for every pair of measured implementations of one kind: what differs, worst first, and the code to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from normgauge.adapters.implementation_id import EAGER, ImplementationId
from normgauge.adapters.registry import NoAdapter
from normgauge.conformance.comparison.changes import Compared, Difference, compare_pair
from normgauge.conformance.comparison.pairing import Pair
from normgauge.conformance.comparison.sides import Member, NotComparable, Side, side_of
from normgauge.conformance.comparison.words import question_of, value_in_words
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes.layers import DTYPE, RecipeLayer, layer_of_member
from normgauge.conformance.recipes.recipe import recipe_of
from normgauge.results.answers import Answers, InNumbers, PortDifference, PortPair, PortRecipe, Weight
from normgauge.results.facts import ABSENT, class_name, number
from normgauge.results.records import DIVERGENT, Header, Judgement, Record

#: The name of an implementation of a run on the page.
Named = Callable[[Header, str], str]
#: Axes that no ordinary call shows.
_RARE: Final = frozenset({"single_value", "momentum_none", "untracked_eval_uses"})
#: How differences are counted that an ordinary call does not show.
_COUNTED: Final[Mapping[Weight, str]] = {
    "rare": "{} on rare inputs",
    "convention": "{} of convention",
    "exactness": "{} in types or exactness",
}
#: The accuracy classes that lose digits, the worst one last, and what their hazard begins with.
_COSTS: Final[Mapping[str, str]] = {class_name("one_pass"): "one-pass", class_name(None): "outside every"}
_WEIGHTS: Final[tuple[Weight, ...]] = ("result", "rare", "convention", "exactness")


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One implementation: ``name`` is that on the page, ``remedies`` are by requirement."""

    name: str
    framework: str
    member: Member
    remedies: Mapping[str, str]
    versions: str

    @property
    def alike(self) -> tuple[object, ...]:
        """What two layers have in common that have the same answers."""
        profile = next(iter(self.member.profiles.values()))
        facts = (
            (key, value.text, value.kind) for key, value in self.member.facts.items() if key.kind != "documentation"
        )
        dtypes = tuple(self.member.profiles)
        names = frozenset(profile.names.items())  # what to write is in the names of the target
        return (self.member.layer, profile.layout, names, dtypes, facts, frozenset(self.remedies.items()))


@dataclass(kw_only=True)
class _Table:
    """Differences, each once, by number."""

    numbers: dict[str, int] = field(default_factory=dict)
    all: list[PortDifference] = field(default_factory=list)

    def number(self, one: PortDifference) -> int:
        key = repr(one)
        if key not in self.numbers:
            self.numbers[key] = len(self.all)
            self.all.append(one)
        return self.numbers[key]


def answers_of(runs: Sequence[Sequence[Record]], named: Named) -> Answers:
    """The answers for these runs; ``named`` gives the name of an implementation on the page."""
    layers = [one for records in runs for one in _layers(records, named)]
    groups: dict[tuple[object, ...], list[_Layer]] = {}
    for one in layers:
        groups.setdefault(one.alike, []).append(one)
    table, pairs = _Table(), []
    firsts = [own[0] for own in groups.values()]
    for a, first in enumerate(firsts):
        for b, second in enumerate(firsts):
            if a != b and first.member.layer == second.member.layer:
                pairs.append(_pair(a, b, (first, second), table))
    return Answers(
        groups=[[one.name for one in own] for own in groups.values()],
        differences=table.all,
        pairs=pairs,
        recipes=list(_recipes(layers)),
    )


def _layers(records: Sequence[Record], named: Named) -> Iterator[_Layer]:
    header = next(one for one in records if isinstance(one, Header))
    side = _side(header, records)
    remedies: dict[str, dict[str, str]] = {}
    for one in records:
        if isinstance(one, Judgement) and one.verdict in DIVERGENT and one.remedy:
            remedies.setdefault(one.implementation, {})[one.requirement] = one.remedy
    for member in side.members.values() if side else ():
        yield _Layer(
            name=named(header, member.name),
            framework=header.framework,
            member=member,
            remedies=remedies.get(member.name, {}),
            versions=", ".join(f"{name} {version}" for name, version in header.versions.items()),
        )


def _side(header: Header, records: Sequence[Record]) -> Side | None:
    try:
        return side_of(header.framework, "", records)
    except NotComparable:
        return None  # nothing was measured


# --- what differs -------------------------------------------------------------------------------


def _pair(a: int, b: int, both: tuple[_Layer, _Layer], table: _Table) -> PortPair:
    first, second = both
    compared = compare_pair(Pair(a=first.member, b=second.member, why=""))
    worst_first = sorted(compared.differences, key=lambda one: (_WEIGHTS.index(_weight(one)), not one.b.departs))
    layouts = list(_layouts(first, second))
    found = [*layouts, *(_told(compared, one, both) for one in worst_first)]
    equal = sum(compared.same.values())
    return PortPair(
        a=a,
        b=b,
        sentence=_sentence(found[len(layouts) :], layouts, equal),
        dtypes=list(compared.dtypes),
        differences=list(dict.fromkeys(map(table.number, found))),
        equal=equal,
    )


def _sentence(found: Sequence[PortDifference], layouts: Sequence[PortDifference], equal: int) -> str:
    """The answer in one sentence, and a second one on what ordinary calls do not show."""
    counts = {weight: sum(one.weight == weight for one in found) for weight in _WEIGHTS}
    subjects = list(dict.fromkeys(one.subject for one in found if one.weight == "result"))
    layout = f"another layout: ({layouts[0].a}) becomes ({layouts[0].b})" if layouts else ""
    if subjects:
        said = [f"Not the same: other results by {', '.join(subjects)}", *([layout] if layout else [])]
    elif not equal:
        said = ["Nothing could be compared"]
    else:
        said = ["The same formulas and defaults" if any(counts.values()) or layout else "The same", layout]
        said = ["; ".join(filter(None, said))]
    rest = [words.format(counts[weight]) for weight, words in _COUNTED.items() if counts[weight]]
    more = f"; differences without effect on ordinary inputs: {', '.join(rest)}" if rest else ""
    return f"{'; '.join(said)}{more}."


def _layouts(first: _Layer, second: _Layer) -> Iterator[PortDifference]:
    a, b = (next(iter(one.member.profiles.values())).layout for one in (first, second))
    if a != b:
        yield PortDifference(weight="result", subject="layout of the input", a=a, b=b, remedy="permute x and y")


def _told(compared: Compared, one: Difference, both: tuple[_Layer, _Layer]) -> PortDifference:
    source, target = both
    requirement, subject = _requirement(target.member, one)
    numbers = None
    if one.effect:
        effect = one.effect
        numbers = InNumbers(case=effect.case.words, where=effect.where, a=effect.a, b=effect.b)
    everywhere = set(one.dtypes) >= set(compared.dtypes)
    return PortDifference(
        weight=_weight(one),
        subject=subject,
        requirement=requirement,
        dtypes=[] if everywhere else list(one.dtypes),
        a=value_in_words(one.a),
        b=_hazard(one, target) or value_in_words(one.b),
        numbers=numbers,
        remedy=_given(one, source, target)
        or (target.remedies.get(requirement, "") if one.b.departs and not one.a.departs else ""),
    )


def _given(one: Difference, source: _Layer, target: _Layer) -> str:
    """The argument that gives the target the default of the source; empty where it is no difference of defaults.

    A momentum that weighs the other value is turned round, as in a recipe.
    """
    setting = one.subject.rpartition("default ")[2]
    name = next(iter(target.member.profiles.values())).names.get(setting)
    if one.kind != "default" or not name or one.a.text == ABSENT:
        return ""
    if setting != "momentum" or len({_weighs(source), _weighs(target)}) == 1:
        return f"{name}={one.a.text}"
    if number(one.a.text) is None:
        return ""
    value = 1 - Decimal(one.a.text)
    default = number(one.b.text) == float(value)
    return f"{name}={value}, {'which is the default and means the same' if default else f'that is 1 - {one.a.text}'}"


def _weighs(layer: _Layer) -> str:
    return layer.member.choices().get("momentum_weighs", "")


def _hazard(one: Difference, target: _Layer) -> str:
    """What the accuracy class of the target costs and what avoids it, as its profiles say: a limit for each type."""
    if not _loses_digits(one):
        return ""
    found: dict[str, list[str]] = {}
    for dtype in one.dtypes:
        for hazard in target.member.profiles[dtype].hazards:
            if hazard.startswith(_COSTS[one.b.text]):
                found.setdefault(hazard, []).append(dtype)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"in {' and '.join(dtypes)}, {hazard}" for hazard, dtypes in found.items())


def _loses_digits(one: Difference) -> bool:
    """Whether the target has one of the worst two classes, and a worse one than the source."""
    worst_last = list(_COSTS)
    if one.kind != "statistics" or one.b.text not in worst_last:
        return False
    return one.a.text not in worst_last or worst_last.index(one.a.text) < worst_last.index(one.b.text)


def _requirement(member: Member, one: Difference) -> tuple[str, str]:
    """The id of the requirement that a difference is about, if there is one, and the subject in words."""
    if one.kind == "requirement":
        identifier, _, title = one.subject.partition(" ")
        return identifier, title
    on_axis = (own.id for own in kind_of(member.layer).requirements if own.axis == one.subject)
    return (next(on_axis, "") if one.kind == "semantics" else ""), question_of(member, one)


def _weight(one: Difference) -> Weight:
    if one.kind == "semantics":
        return "rare" if one.subject in _RARE else "result"
    if one.kind == "default":
        return "result"
    if one.kind == "requirement":
        return "rare" if "error" in {one.a.sort, one.b.sort} else "convention"
    return "rare" if _loses_digits(one) else "exactness"


# --- code ---------------------------------------------------------------------------------------


def _recipes(layers: Iterable[_Layer]) -> Iterator[PortRecipe]:
    known = [(one, found) for one in layers if (found := _written(one))]
    for source, there in known:
        for target, here in known:
            if source is target or there.implementation.layer != here.implementation.layer:
                continue
            others = [one for layer, one in known if layer.framework == target.framework and _of_class(one, here)]
            made = recipe_of(there, here, others)
            yield PortRecipe(
                source=source.name,
                target=target.name,
                code=made.code,
                built="" if made.target.id == here.id else made.target.id,
                does=[*made.plan.notes, *made.remarks],
                does_not=list(made.plan.limits),
                impossible=list(made.plan.impossible),
            )


def _of_class(one: RecipeLayer, other: RecipeLayer) -> bool:
    return (
        one.implementation.class_path == other.implementation.class_path
        and one.versions == other.versions
        and one.id != other.id
    )


def _written(layer: _Layer) -> RecipeLayer | None:
    """The layer as code writes it; None for a mode, without a profile of float32, and for a framework of one's own."""
    if layer.member.mode not in {"", EAGER} or DTYPE not in layer.member.profiles:
        return None
    profile = layer.member.profiles[DTYPE]
    identity = ImplementationId(class_path=profile.class_path, options=profile.options, backend=profile.backend)
    try:
        return layer_of_member(replace(layer.member, name=str(identity)), layer.versions)
    except (NotComparable, NoAdapter):
        return None
