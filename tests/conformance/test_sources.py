"""On what requirements rest: a ground each, sources that say it, and for conventions who has them."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from grounds_table import ROOT, holders, lines

from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.catalogue import RETIRED
from normgauge.conformance.requirements.sources import HIGHAM, Source, Work, cited
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.grounds import Ground
from normgauge.results.records import Judgement

QUOTED = [(one, source) for one in requirements().values() for source in one.source if source.work.distribution]


def plain(text: str) -> str:
    """Documentation without its markup, in one line."""
    return " ".join(re.sub(r"(?::\w+:)?`+([^`]*)`+", r"\1", text).split())


@pytest.mark.parametrize("distribution", sorted({source.work.distribution for _, source in QUOTED}))
def test_every_quote_of_a_framework_stands_in_the_installed_text(distribution: str) -> None:
    own = [(one, source) for one, source in QUOTED if source.work.distribution == distribution]
    version = own[0][1].work.version
    required = os.environ.get("NORMGAUGE_REQUIRE_FRAMEWORKS") == "1"  # as `nox -s tests` sets it: nothing goes unread
    left_out = pytest.fail if required else pytest.skip
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        left_out(f"{distribution} is not installed")
    if installed.version.partition("+")[0] != version:
        left_out(f"quoted from {distribution} {version}, installed is {installed.version}")
    names = {name for _, source in own for name in source.work.files}
    texts = {name: plain(Path(str(installed.locate_file(name))).read_text(encoding="utf-8")) for name in names}
    wrong = [
        f"{one.id}, {name}: {source}"
        for one, source in own
        for name in source.work.files
        if plain(source.quote) not in texts[name]
    ]
    assert wrong == []
    assert [source.work.name for _, source in own if not source.work.files] == []


def test_every_requirement_has_a_ground_and_sources_with_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    totals = Counter(one.ground for one in requirements().values())
    with capsys.disabled():
        print(*(f"{ground} {totals[ground]}" for ground in get_args(Ground)), sep=", ")
    assert set(totals) == set(get_args(Ground))
    assert all(source.work.version in one.cited for one in requirements().values() for source in one.source)


def test_what_rests_on_documentation_is_quoted_from_a_framework_s_own() -> None:
    documented = [one for one in requirements().values() if one.ground == "documentation"]
    assert documented
    quoted = {one.id for one, source in QUOTED if source.quote}
    assert [one.id for one in documented if one.id not in quoted] == []


def test_a_framework_is_judged_by_its_own_documentation_and_by_no_other_s() -> None:
    every_rank, eps = requirements()["GN-07"], requirements()["GN-01"]
    assert every_rank.quoted == {"torch", "mlx", "keras", "flax"}
    assert [every_rank.ground_for(name) for name in ("torch", "keras", "lucid")] == [
        "documentation", "documentation", "convention"
    ]  # fmt: skip
    assert {eps.ground_for(name) for name in ("torch", "lucid")} == {"formula"}


def test_a_port_departs_from_a_convention_where_only_the_documentation_of_others_asks_for_it() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.FirstSliceOnlyInRankFive",), in_process=True)
    records = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
    found = {one.requirement: one for one in records if isinstance(one, Judgement)}
    assert (found["GN-07"].verdict, found["GN-07"].ground) == ("diverges", "convention")
    assert found["GN-01"].ground == "formula"


def test_no_source_is_a_page_of_this_project() -> None:
    assert [
        one.id for one in requirements().values() for source in one.source if source.work.name.startswith("docs/")
    ] == []


def test_every_convention_is_held_by_a_framework() -> None:
    expectations = load_expectations()
    conventions = [one for one in requirements().values() if one.ground == "convention"]
    assert [one.id for one in conventions if not holders(one, expectations)[0]] == []


def test_the_page_on_verdicts_has_the_requirements_by_ground() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    told = page.partition("<!-- python tests/support/grounds_table.py -->\n")[2].partition("\n<!-- end -->")[0]
    assert told == "\n".join(lines()), "write what `python tests/support/grounds_table.py` prints between the marks"


@pytest.mark.parametrize("kind", ["GN", "BN"])
def test_no_number_is_left_out_or_used_twice_unless_it_is_retired(kind: str) -> None:
    own = [name for name in (*requirements(), *RETIRED) if name.startswith(kind)]
    assert sorted(own) == [f"{kind}-{number:02}" for number in range(1, len(own) + 1)]


def test_a_source_without_words_or_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="must quote its words, or say what follows and why"):
        Source(work=HIGHAM)


def test_a_work_whose_name_hides_its_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must say which version was read, '2\.0': got 'torch'"):
        Work(name="torch", version="2.0")


def test_sources_of_one_work_name_it_once() -> None:
    paper, other = Work(name="A paper, version 2", version="2"), Work(name="A page of 2020", version="2020")
    own = (paper.says("yes", at="page 1"), paper.implies("no", at="page 2"))
    first = 'A paper, version 2: page 1, "yes" and follows from page 2: no'
    assert cited((*own, other.implies("maybe", quote="perhaps"))) == f'{first}; A page of 2020: "perhaps", so maybe'
