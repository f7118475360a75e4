"""A page of measurements says what made it, and says so where that is no longer what is measured."""

from __future__ import annotations

from pathlib import Path

import digests
import pytest
from digests import CURRENT, PROJECT, STALE, carried

from normgauge.conformance.layers import registry
from normgauge.reports.grouping import asked_of
from normgauge.results.records import Header

REMEDIES = {
    "docs/timeline.md": "nox -s timeline -- mlx, then copy timeline.md and its picture from build/timeline/mlx",
    "docs/accuracy.md": "nox -s conformance, then normgauge accuracy build/results --out docs",
    "docs/soak.md": "nox -s soak -- --write docs/soak.md",
    "docs/mutants.md": "nox -s mutants -- --write docs/mutants.md",
    "docs/automatic-mutants.md": "nox -s mutants -- --automatic --write docs/automatic-mutants.md",
    "docs/performance.md": "nox -s benchmarks, then write down its tables and the digest that digests.py prints",
}


@pytest.mark.parametrize("page", CURRENT)
def test_a_page_is_made_of_what_is_measured_now_or_says_that_it_is_stale(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    stale = carried(text) != CURRENT[page]()
    assert (STALE in text) == stale, f"{page} is {'' if stale else 'not '}stale; to make it anew: {REMEDIES[page]}"


def test_the_catalogue_s_digests_change_with_what_comes_and_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = registry.digests()
    assert registry.digests() == before
    ids = registry.requirements()
    monkeypatch.setattr(registry, "requirements", lambda: {one: ids[one] for one in list(ids)[1:]})
    after = registry.digests()
    assert after["requirements"] != before["requirements"]
    assert (after["axes"], after["curves"]) == (before["axes"], before["curves"])


def test_a_digest_of_code_is_not_one_of_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "PROJECT", tmp_path)
    module = tmp_path / "one.py"
    module.write_text('"""Doc."""\n\n\ndef f():\n    """What."""\n    return 1  # so\n', encoding="utf-8")
    before = digests.of_code("*.py")
    module.write_text('"""Other."""\n\n\ndef f():\n    """Why."""\n    return 1\n', encoding="utf-8")
    assert digests.of_code("*.py") == before
    module.write_text("def f():\n    return 2\n", encoding="utf-8")
    assert digests.of_code("*.py") != before


def header(version: str, **catalogue: str) -> Header:
    return Header(
        format=1, suite="0", framework="mlx", versions={"mlx": version}, python="3", platform="", numpy="2", device="",
        dtypes=[], implementations=[], started="", budget="none", catalogue=catalogue,
    )  # fmt: skip


def test_a_page_carries_what_was_asked_and_several_where_its_results_differ() -> None:
    now, before = header("2", axes="a1", requirements="r2"), header("1", axes="a1", requirements="r1")
    assert asked_of([now], ["requirements", "axes"]) == "requirements r2 axes a1 budget none"
    assert asked_of([now, header("1", axes="a1", requirements="r2")], ["axes"]) == "axes a1 budget none"
    assert asked_of([now, before], ["requirements"]) == "requirements r1 budget none; requirements r2 budget none"
    assert asked_of([header("0")], ["curves"]) == "curves unknown budget none"
    assert carried(f"# Title\n\n<!-- asked: {asked_of([now], ['axes'])} -->\n") == "axes a1 budget none"
