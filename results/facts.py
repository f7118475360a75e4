"""What records say of each implementation, one fact a subject, and the rule of what a change of a fact is.

The timeline of a framework, the comparison of two implementations and a gate against a reference all read this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from normgauge.results.grounds import Sort, sort_of
from normgauge.results.records import DIVERGENT, AxisMeasured, Claim, Judgement, Profile

Kind = Literal["semantics", "documentation", "requirement", "statistics", "default", "type", "dtype"]
#: What stands where a record has no value.
ABSENT: Final = "–"

Change = Literal[
    "newly different", "newly the same", "changed value", "changed class",
    "no longer supported", "newly supported", "no longer decided", "newly decided",
]  # fmt: skip


class Key(NamedTuple):
    """What a fact is about: ``subject`` is an axis, a requirement with its title, ``default eps``, ``type of dx``."""

    implementation: str
    kind: Kind
    subject: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Value:
    """A measured value.

    ``kind`` is ``same`` as canonical, ``other``, ``crash``, ``open`` (not decided) or ``none`` (not there).
    ``sort`` is what a difference counts as (results/grounds.py). ``meaning`` has the words for ``text`` where that is a
    value of an axis.
    """

    text: str
    kind: str
    sort: Sort | None = field(default=None, compare=False)
    meaning: str = field(default="", compare=False)

    @property
    def differs(self) -> bool:
        """Whether it is a difference from a convention, which is not wrong."""
        return self.sort == "difference"

    @property
    def departs(self) -> bool:
        """Whether it is another value than the canonical one, or what a requirement excludes."""
        return self.kind in {"other", "crash"}

    @property
    def decided(self) -> bool:
        """Whether something was measured that says what the layer does."""
        return self.kind not in {"open", "none"}

    @property
    def worded(self) -> str:
        """The meaning with the name of the value in parentheses, or the text."""
        return f"{self.meaning} ({self.text})" if self.meaning else self.text


NOTHING: Final = Value(text=ABSENT, kind="none")


def is_change(before: Value, after: Value) -> bool:
    """Whether the second value is another one; where nothing was measured, nothing changed.

    Numbers are the same if they are equal: ``1e-5`` and ``1e-05``.
    """
    if NOTHING in (before, after) or before.text == after.text:
        return False
    numbers = number(before.text), number(after.text)
    return None in numbers or numbers[0] != numbers[1]


def change_of(kind: Kind, before: Value, after: Value) -> Change | None:
    """The sort of change from one value to another; None where there is no change."""
    if not is_change(before, after):
        return None
    if "none" in (before.kind, after.kind):
        return "no longer supported" if after.kind == "none" else "newly supported"
    if kind == "statistics":
        return "changed class"
    if not (before.decided and after.decided):
        return "no longer decided" if before.decided else "newly decided" if after.decided else "changed value"
    if before.departs == after.departs:
        return "changed value"
    return "newly different" if after.departs else "newly the same"


def facts_of(
    profiles: Iterable[Profile], judgements: Iterable[Judgement], on_axes: Collection[str]
) -> Iterator[tuple[Key, Value]]:
    """Every fact of these records. A dtype of which nothing could be measured has that fact alone.

    ``on_axes`` are the requirements whose difference an axis has already (:func:`on_axes`).
    """
    seen = set()
    for one in profiles:
        about = one.implementation, one.dtype
        if _blind(one):
            yield _key(about, "dtype", one.dtype), Value(text="nothing measured", kind="none")
            continue
        seen.add(about)
        yield from _of_profile(one, about)
    for judged in judgements:
        about = judged.implementation, judged.dtype
        if about in seen and judged.requirement not in on_axes:
            yield _key(about, "requirement", f"{judged.requirement} {judged.title}"), _verdict(judged)


def on_axes(judgements: Iterable[Judgement]) -> set[str]:
    """The requirements that were judged by the value of an axis, in any of these judgements."""
    return {
        one.requirement for one in judgements if one.meaning or any(witness.against_axis for witness in one.witnesses)
    }


def _of_profile(one: Profile, about: tuple[str, str]) -> Iterator[tuple[Key, Value]]:
    yield _key(about, "dtype", one.dtype), Value(text="measured", kind="same")
    for axis in one.axes:
        yield _key(about, "semantics", axis.axis), _measured(one, axis)
    accuracy = class_name(one.accuracy)
    kind = {"one-pass": "open", "outside every class": "other"}.get(accuracy, "same")
    yield _key(about, "statistics", "statistics"), Value(text=accuracy, kind=kind)
    for default in one.defaults:
        measured, signature = default.rounded(), default.signature
        yield _key(about, "default", f"default {default.setting}"), Value(text=signature or ABSENT, kind="same")
        if measured is not None:
            kind = "same" if signature and float(measured) == number(signature) else "other"
            yield _key(about, "default", f"measured default {default.setting}"), Value(text=measured, kind=kind)
    for claim in one.claims:
        yield _key(about, "documentation", claim.subject), _claimed(one, claim)
    for name, native in one.types.items():
        yield _key(about, "type", f"type of {name}"), Value(text=native, kind="same")


def _key(about: tuple[str, str], kind: Kind, subject: str) -> Key:
    return Key(about[0], kind, subject, about[1])


def _measured(profile: Profile, axis: AxisMeasured) -> Value:
    values = "/".join(axis.measured) or "nothing measured"
    if not profile.known or len(axis.measured) != 1:
        return Value(text=values, kind="open")
    kind = "same" if axis.measured == [axis.canonical] else "other"
    return Value(text=values, kind=kind, meaning=axis.meanings.get(values, ""))


_CLAIMED: Final[Mapping[str, str]] = {
    "agrees": "same", "contradicts": "other", "silent": "none", "cannot tell": "open",
}  # fmt: skip
_JUDGED: Final[Mapping[str, str]] = {"conforms": "same", "unsupported": "none", "cannot tell": "open"}


def _claimed(profile: Profile, claim: Claim) -> Value:
    meanings = {
        name: words for axis in profile.axes if axis.axis == claim.subject for name, words in axis.meanings.items()
    }
    text = claim.claimed or claim.verdict
    return Value(text=text, kind=_CLAIMED[claim.verdict], meaning=meanings.get(text, ""))


def _verdict(judgement: Judgement) -> Value:
    if judgement.verdict in DIVERGENT:
        kind = "crash" if judgement.verdict == "crashes" else "other"
        sort = sort_of(judgement.verdict, judgement.ground)
        text = judgement.measured or judgement.verdict
        return Value(text=text, kind=kind, sort=sort, meaning=judgement.meaning)
    return Value(text=judgement.verdict, kind=_JUDGED[judgement.verdict])


def class_name(accuracy: str | None) -> str:
    """An accuracy class as it is written."""
    return (accuracy or "outside every class").replace("_", "-")


def in_two_digits(ratio: float) -> str:
    """A ratio in two digits, with an exponent from 1e9 on."""
    rounded = float(f"{ratio:.2g}")
    return f"{rounded:,.0f}" if 10 <= rounded < 1e9 else f"{rounded:g}"


def number(text: str) -> float | None:
    """The number that a text is; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _blind(profile: Profile) -> bool:
    """Whether next to nothing is known of this dtype, as where a release does not have it."""
    undecided = sum(len(axis.measured) != 1 for axis in profile.axes)
    return profile.known and profile.accuracy is None and 2 * undecided >= len(profile.axes)
