"""The plan of a campaign: a TOML file, decoded and checked once.

``plan.schema.json`` beside this file is generated from these classes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.results.schemas import schema_of

#: The number of the format; a plan has none yet.
FORMAT: Final = 1
Text = Annotated[str, Meta(min_length=1, max_length=300)]
#: The name of a result file without its suffix.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$", max_length=100)]
Seed = Annotated[int, Meta(ge=0, le=2**53)]
#: One of the words that the schema lists; :func:`plan_of` checks it.
Dtype = Annotated[str, Meta(extra_json_schema={"enum": [*DTYPES]})]
BudgetName = Annotated[str, Meta(extra_json_schema={"enum": [*BUDGETS]})]
Positive = Annotated[int, Meta(ge=1, le=2**31)]


class BrokenPlan(ValueError):
    """A plan that cannot be read; the message names the file, the place and the remedy."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Shape(_Record, frozen=True, kw_only=True):
    """An additional input: ``shape`` is samples, channels, positions; ``groups`` those of GroupNorm."""

    shape: Annotated[list[Positive], Meta(min_length=2, max_length=5)]
    groups: Positive | None = None


class Installed(_Record, frozen=True, kw_only=True):
    """What is measured of one framework.

    With ``releases``, each release has an environment of its own, and with ``install`` alone there is one environment.
    ``install`` has requirements as of pip; one of a distribution that the release brings replaces it, and ``{release}``
    stands for the release. With neither, ``python`` is the path of an interpreter that has the framework, or the Python
    of the worker is used. Otherwise ``python`` is the version that the environments need, such as "3.14".

    ``implementations``, ``modes`` and ``dtypes`` replace those of the plan.
    """

    framework: Text
    name: Name | None = None
    releases: list[Name] = []
    install: list[Text] = []
    python: Text | None = None
    implementations: list[Text] | None = None
    modes: list[Text] | None = None
    dtypes: list[Dtype] | None = None


class Plan(_Record, frozen=True, kw_only=True):
    """A campaign.

    ``implementations`` are ids, or patterns of ids, ``modes`` names of modes, or patterns; without them all are meant.
    Each implementation is explored with the seeds ``first_seed``, ``first_seed`` + 1 and so on, ``seeds`` in all, of
    which a shard has ``seeds_per_shard``. A shard whose worker ends is run again ``retries`` times. ``time_limit`` is
    that of a case, in seconds.
    """

    environments: Annotated[list[Installed], Meta(min_length=1)]
    budget: BudgetName = "default"
    implementations: list[Text] = []
    modes: list[Text] = []
    dtypes: list[Dtype] = []
    shapes: list[Shape] = []
    first_seed: Seed = 0
    seeds: Positive = 1
    seeds_per_shard: Positive = 1
    retries: Annotated[int, Meta(ge=0, le=100)] = 2
    time_limit: Annotated[float, Meta(ge=0.1)] = 60.0


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        BrokenPlan: it cannot be read, or says what a plan cannot say.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenPlan(f"{path} cannot be read: {error.strerror}; give the TOML file of a plan") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenPlan(f"{path} is no TOML: {error}; correct it there") from None
    return plan_of(content, str(path))


def plan_of(content: Any, named: str) -> Plan:
    """The plan with this content; ``named`` is its file in messages.

    Raises:
        BrokenPlan: it says what a plan cannot say.
    """
    try:
        plan = msgspec.convert(content, Plan)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        where = place.strip("`").removeprefix("$").removeprefix(".") or "the top of the file"
        raise BrokenPlan(f"{named}: {what}, at {where}; {_allowed(where)}") from None
    for word, where in _unknown_words(plan):
        raise BrokenPlan(f"{named}: {word!r}, at {where}; {_allowed(where)}")
    return plan


def _unknown_words(plan: Plan) -> Iterator[tuple[str, str]]:
    """Each budget and dtype that is not known, with its place."""
    if plan.budget not in BUDGETS:
        yield plan.budget, "budget"
    own = [(f"environments[{number}].dtypes", one.dtypes or []) for number, one in enumerate(plan.environments)]
    for where, dtypes in [("dtypes", plan.dtypes), *own]:
        yield from ((word, f"{where}[{number}]") for number, word in enumerate(dtypes) if word not in DTYPES)


def _allowed(where: str) -> str:
    """What may stand at this place of a plan."""
    field = where.rpartition(".")[2].partition("[")[0]
    if field == "environments" or where == "the top of the file":
        kind = Installed if field == "environments" and where != "environments" else Plan
        return f"allowed there: {', '.join(kind.__struct_fields__)}"
    known: dict[str, str] = {
        "dtypes": ", ".join(DTYPES),
        "budget": ", ".join(BUDGETS),
        "shapes": ", ".join(Shape.__struct_fields__),
        "name": "letters, digits and . _ + -, with no dot at the start",
        "releases": "versions such as 0.32.4",
    }
    return f"allowed: {known[field]}" if field in known else "plan.schema.json has what is allowed"


def schema() -> dict[str, Any]:
    """The JSON Schema of a plan, generated from its records."""
    return schema_of(Plan, "campaign", "the plan of a campaign", FORMAT)
