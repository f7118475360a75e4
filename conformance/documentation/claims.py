"""What the installed documentation of an implementation claims, set beside what was measured.

Formulas and defaults are parsed, prose is recognised by a short table of narrow patterns, and what is
not recognised is silence: a documentation is never accused of what it does not say. docs/claims.md
tells what is read and what is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from normgauge.conformance.documentation.docstrings import Passage, passages
from normgauge.conformance.documentation.formulas import Formula, eps_placements, momentum_weighs
from normgauge.conformance.documentation.notation import Unreadable, read_code, read_latex
from normgauge.conformance.documentation.rules import CONDITION, ELSEWHERE, NUMBER, PLAINLY, RULES, Rule
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.subjects.messages import Description
from normgauge.results.records import AxisMeasured, Claim, DefaultMeasured

SIGNATURE: Final = "signature"
NO_TEXT: Final = "no docstring"
Verdict = Literal["agrees", "contradicts", "silent", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One claim: ``value`` is that of the axis, or the default as text; None where nothing was recognised.

    ``quote`` holds the documentation's own words, blanks made one; ``where`` says where they stand, and
    of a silent subject which places were read.
    """

    subject: str
    value: str | None
    quote: str
    where: str


_CLAUSES: Final = re.compile(r";|,? \b(?:while|whereas|however|but)\b,?|, and\b")
_MARKUP: Final = re.compile(r":\w+:(?=`)|[`*]+")
_CODE: Final = re.compile(r"(?<![:`\w])(`{1,2})([^`]+)\1(?!`)")
_LATEX: Final = re.compile(r":math:`([^`]+)`|(?<![\\$])\$([^$]+)\$(?!\$)|\\\((.+?)\\\)")
_DEFAULT: Final = re.compile(
    rf"\bdefaults?\b(?: value)?(?: is| to)?\s*[:=]?\s*(?P<value>{NUMBER}|None)(?=[\s.,;)\]]|$)", re.IGNORECASE
)
_DEFAULT_OF: Final = rf"\bdefault {{name}} (?:value )?of (?P<value>{NUMBER})(?=[\s.,;)]|$)"
_MENTIONS_EPS: Final = r"\beps\b|\bepsilon\b|\\(?:var)?epsilon\b|ε"
_DEFAULTED: Final = ("eps", "momentum")
_LONGEST_QUOTE: Final = 400
_LONGEST_SENTENCE: Final = 2000


def read_claims(
    layer: str, texts: Mapping[str, str], names: Mapping[str, str], signature_defaults: Mapping[str, Any]
) -> list[Statement]:
    """What the texts and the signature claim on each axis of the layer and on its defaults.

    ``texts`` maps a place, such as ``docstring of mlx.nn.GroupNorm``, to its text; ``names`` maps canonical
    names to the framework's. Every subject has a statement, a silent one if need be; it has more than one
    where the documentation says different things.
    """
    found: dict[tuple[str, str], Statement] = {}
    for one in _all(layer, texts, names, signature_defaults):
        key = (one.subject, str(one.value))
        known = found.get(key)
        if known is None:
            found[key] = one
        elif one.where == SIGNATURE:
            found[key] = replace(known, where=f"{known.where}; {SIGNATURE}")
    statements = []
    read = ", ".join(texts) or NO_TEXT
    for subject in subjects(layer, names):
        said = [one for (about, _), one in found.items() if about == subject]
        statements += said or [Statement(subject=subject, value=None, quote="", where=read)]
    return statements


def subjects(layer: str, names: Mapping[str, str]) -> list[str]:
    """The axes of the layer, and the defaults of the settings that it has."""
    return [axis.name for axis in kind_of(layer).axes] + [f"default {name}" for name in _DEFAULTED if name in names]


def _all(
    layer: str, texts: Mapping[str, str], names: Mapping[str, str], signature_defaults: Mapping[str, Any]
) -> Iterator[Statement]:
    rules = [(rule, re.compile(_filled(rule.pattern, names), re.IGNORECASE)) for rule in RULES]
    for where, text in texts.items():
        for passage in passages(text):
            place = f"{passage.entry} in the {where}" if passage.entry in names.values() else where
            for subject, value, quote in _of_formulas(passage, names):
                yield Statement(subject=subject, value=value, quote=quote, where=place)
            if passage.kind == "sentence" and len(passage.text) <= _LONGEST_SENTENCE:
                plain, quote = _MARKUP.sub("", passage.text), _quoted(passage.text)
                for rule, pattern in rules:
                    if rule.layer in {None, layer} and _says(rule, pattern, passage, plain, names):
                        yield Statement(subject=rule.subject, value=rule.value, quote=quote, where=place)
                for name, value in _stated_defaults(passage, plain, names):
                    yield Statement(subject=f"default {name}", value=value, quote=quote, where=place)
    for name in _DEFAULTED:
        if name in names and name in signature_defaults:
            written = signature_defaults[name]
            quote = f"{names[name]}={written}"
            yield Statement(subject=f"default {name}", value=_as_text(written), quote=quote, where=SIGNATURE)


def _filled(pattern: str, names: Mapping[str, str]) -> str:
    return pattern.replace("{track}", re.escape(names.get("track", "track_running_stats")))


# --- formulas ----------------------------------------------------------------------------------------


def _of_formulas(passage: Passage, names: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Subject, value and quote of each claim that a formula of the passage makes."""
    for formula, quote in _formulas(passage):
        for value in sorted(eps_placements(formula, names.get("eps", "eps"))):
            yield "eps_placement", value, quote
        weighs = momentum_weighs(formula, names.get("momentum", "momentum"))
        if weighs is not None:
            yield "momentum_weighs", weighs, quote


def _formulas(passage: Passage) -> Iterator[tuple[Formula, str]]:
    """The formulas that the passage states of this layer, each with its own text."""
    code: list[str] = []
    latex: list[str] = []
    if passage.kind == "sentence":
        if _matches(PLAINLY, _LATEX.sub(" ", _CODE.sub(" ", passage.text))):
            return
        code = [found[2] for found in _CODE.finditer(passage.text)]
        latex = [next(filter(None, found.groups())) for found in _LATEX.finditer(passage.text)]
    else:
        last = passage.before.rpartition(". ")[2]
        if _matches(ELSEWHERE, last) or _matches(CONDITION, _LATEX.sub(" ", passage.before)):
            return
        (code if passage.kind == "code" else latex).append(passage.text)
    for text in code:
        try:
            yield read_code(text), _quoted(text)
        except Unreadable:
            continue
    for text in latex:
        yield from ((formula, _quoted(text)) for formula in read_latex(text))


# --- prose -------------------------------------------------------------------------------------------


def _says(rule: Rule, pattern: re.Pattern[str], passage: Passage, plain: str, names: Mapping[str, str]) -> bool:
    if rule.about is not None and not _is_about(rule.about, passage, plain, names):
        return False
    texts = _CLAUSES.split(plain) if rule.clause else [plain]
    return any(pattern.search(text) and not _matches(rule.unless, text) for text in texts)


def _is_about(setting: str, passage: Passage, plain: str, names: Mapping[str, str]) -> bool:
    """Whether a sentence speaks of a setting: it stands in its entry or, outside of entries, names it."""
    name = names.get(setting, setting)
    if passage.entry is not None:
        return passage.entry == name
    mentioned = rf"\b{re.escape(name)}\b" + (f"|{_MENTIONS_EPS}" if setting == "eps" else "")
    return bool(re.search(mentioned, plain))


def _stated_defaults(passage: Passage, plain: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The settings whose default the sentence states, with the default."""
    for setting in _DEFAULTED:
        name = names.get(setting)
        if name is None or passage.entry not in {None, name}:
            continue
        pattern = _DEFAULT if passage.entry else re.compile(_DEFAULT_OF.format(name=re.escape(name)), re.IGNORECASE)
        found = pattern.search(plain)
        if found is None or _matches(PLAINLY, plain[: found.end("value")]):
            continue
        if not _matches(r"\d|\b(?:for|if|when|unless|otherwise|or)\b", plain[found.end("value") :]):
            yield setting, _as_text(found["value"])


def _as_text(default: Any) -> str:
    """A default as it is compared: 1e-5 and 0.00001 are the same."""
    number = _number(default)
    if number is None:
        return str(default)
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def _number(default: Any) -> float | None:
    if isinstance(default, bool) or default is None:
        return None
    try:
        number = float(default)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_QUOTE else f"{words[: _LONGEST_QUOTE - 4]} ..."


# --- beside the measurement --------------------------------------------------------------------------


def hold(
    statement: Statement, axes: Sequence[AxisMeasured], defaults: Sequence[DefaultMeasured]
) -> tuple[Verdict, str]:
    """The verdict on a statement, and what was measured as text."""
    setting = statement.subject.removeprefix("default ")
    if setting != statement.subject:
        return _held_to_default(statement, next((one for one in defaults if one.setting == setting), None))
    values = next((axis.measured for axis in axes if axis.axis == statement.subject), [])
    measured = " or ".join(values) or "not measured"
    if statement.value is None:
        return "silent", measured
    if len(values) != 1:
        return "cannot tell", measured
    return ("agrees" if values == [statement.value] else "contradicts"), measured


def _held_to_default(statement: Statement, default: DefaultMeasured | None) -> tuple[Verdict, str]:
    rounded = default.rounded() if default else None
    measured = rounded or "not measured"
    claimed = _number(statement.value)
    if statement.value is None:
        return "silent", measured
    signature = _number(default.signature) if default else None
    if claimed is not None and signature is not None and claimed != signature:
        return "contradicts", f"{measured}, {SIGNATURE} {_as_text(signature)}"
    if claimed is None or default is None or default.low is None or default.high is None:
        return "cannot tell", measured
    if default.low <= claimed <= default.high:
        return "agrees", measured
    # A framework may hold the number in float32, whatever the type that it computes in.
    if default.low <= float(np.float32(claimed)) <= default.high:
        return "agrees", f"{measured}, which is {_as_text(claimed)} in float32"
    return "contradicts", measured


def claims(
    description: Description, axes: Sequence[AxisMeasured], defaults: Sequence[DefaultMeasured], known: bool
) -> list[Claim]:
    """The claims of a worker's description beside the profile; nothing is measured where no candidate survived."""
    texts = description.documentation_texts
    kept = {str(where): text for where, text in texts.items() if isinstance(text, str) and text.strip()}
    measured = (axes, defaults) if known else ((), ())
    found = []
    for one in read_claims(description.layer, kept, description.names, description.signature_defaults):
        verdict, beside = hold(one, *measured)
        found.append(
            Claim(
                subject=one.subject,
                claimed=one.value,
                quote=one.quote,
                where=one.where,
                measured=beside,
                verdict=verdict,
            )
        )
    return found
