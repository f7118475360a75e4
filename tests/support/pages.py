"""A page, parsed, and records made by hand: what the tests of the report share."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import msgspec

from normgauge.adapters.implementation_id import ImplementationId
from normgauge.reports.page.page import render
from normgauge.results.file import ResultsWriter
from normgauge.results.records import (
    FORMAT,
    AxisMeasured,
    Claim,
    Counterexample,
    DefaultMeasured,
    Example,
    Explored,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Witness,
)

VOID: Final = frozenset({"meta", "br", "wbr", "link", "img", "hr", "input", "col", "base", "source"})


# --- a page, parsed -----------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class Element:
    """One element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = attributes.items()
        return [one for one in self.walk() if one.tag == tag and wanted <= one.attributes.items()]

    def one(self, tag: str, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def raw(self) -> str:
        if self.tag == "br":
            return "\n"
        return "".join(child if isinstance(child, str) else child.raw for child in self.children)

    @property
    def text(self) -> str:
        return " ".join(self.raw.split())


class Page(HTMLParser):
    """Builds the tree, and fails where an element is not closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element(tag="page", attributes={})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert len(self._open) == 1, f"left open: {[one.tag for one in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag=tag, attributes={name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parsed(html: str) -> Element:
    return Page(html).root


def shown(*runs: Sequence[Record], absent: Sequence[NotRun] = ()) -> Element:
    return parsed(render(runs, absent))


def section(page: Element, heading: str) -> Element:
    """The section that the heading with this id names."""
    (found,) = [one for one in page.all("section") if one.attributes.get("aria-labelledby") == heading]
    return found


def in_short(page: Element) -> list[str]:
    return [item.text for item in section(page, "in-short").all("li")]


def rows(table: Element) -> dict[str, list[str]]:
    """The body of a table: the text of each row's cells by that of its first header."""
    body = [row for part in table.all("tbody") for row in part.all("tr")]
    return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in body}


def matrix(page: Element) -> dict[str, dict[str, str]]:
    """The verdicts: implementation to requirement to what its cell says."""
    table = page.one("table", **{"class": "wide matrix"})
    heads = [one.text for one in table.one("thead").all("th")][1:]
    found: dict[str, dict[str, str]] = {name: {} for name in heads}
    for requirement, cells in rows(table).items():
        for name, cell in zip(heads, cells, strict=True):
            found[name][requirement] = cell
    return found


def notes(page: Element) -> Element:
    """What the page says of itself: warnings, versions, contents."""
    return page.one("section", **{"class": "about"})


def packed(page: Element) -> dict[str, Any]:
    """The data that the script of the page reads."""
    return json.loads(gzip.decompress(base64.b64decode(page.one("script", id="data").raw)))


def scripts_in(element: Element, data: dict[str, Any]) -> list[str]:
    """The scripts of the differences in an element, as the page's script unfolds them."""
    found = []
    for one in element.all("details"):
        if one.attributes.get("data-code") == "script":
            runs = data["code"]["script"][one.attributes["data-of"]]
            parts = zip(runs[::2], runs[1::2], strict=True)
            found.append("\n".join(line for start, count in parts for line in data["lines"][start : start + count]))
    return found


# --- records, made by hand ----------------------------------------------------------------------


def header(name: str = "torch", *implementations: str, **changed: Any) -> Header:
    base = Header(
        format=FORMAT,
        suite="0.1.0",
        framework=name,
        versions={name: "1.2.3"},
        python="3.11.7",
        platform="Linux x86_64",
        numpy="2.4.6",
        device="cpu",
        dtypes=["float32", "float64"],
        implementations=list(implementations),
        started="2026-01-02T03:04:05+00:00",
    )
    return msgspec.structs.replace(base, **changed)


def profile(implementation: str = "torch.nn.GroupNorm", **changed: Any) -> Profile:
    identity = ImplementationId.parse(implementation, changed.get("mode", "eager"))
    base = Profile(
        implementation=implementation,
        device="cpu",
        framework=implementation.partition(".")[0],
        layer="group_norm",
        dtype="float32",
        known=True,
        axes=[
            AxisMeasured(
                axis="grouping", question="which channels form a group", canonical="contiguous", measured=["contiguous"]
            )
        ],
        defaults=[DefaultMeasured(setting="eps", signature="1e-05", low=0.9e-5, best=1e-5, high=1.2e-5)],
        computes_in="float32",
        accuracy="two_pass",
        hazards=[],
        layout="N, C, *",
        names={"eps": "epsilon", "weight": "weight"},
        ranks=[2, 4],
        documentation="https://example.org/docs",
        restarts=0,
        cases=3,
        class_path=identity.class_path,
        options=identity.options,
        backend=identity.backend,
    )
    return msgspec.structs.replace(base, **changed)


def judgement(implementation: str = "torch.nn.GroupNorm", verdict: str = "conforms", **changed: Any) -> Judgement:
    base = Judgement(
        requirement="GN-02",
        title="grouping",
        statement="Groups are adjacent channels.",
        source="A paper, https://example.org/paper",
        implementation=implementation,
        framework=implementation.partition(".")[0],
        dtype="float32",
        verdict="conforms",
        measured="",
        sentence=f"{implementation}: {changed.get('nameless', 'groups as it does')}",
        notes=[],
        witnesses=[],
        nameless="" if "sentence" in changed else "groups as it does",
    )
    return msgspec.structs.replace(base, verdict=verdict, **changed)


def witness(axis: str = "grouping", value: str = "contiguous", **changed: Any) -> Witness:
    """A witness against a value of an axis, or with ``against`` against something else."""
    against = f"{axis}={value}"
    base = Witness(
        probe="graded deviations",
        case="ab12",
        against=against,
        step=1,
        quantity="output",
        index=[0, 3],
        observed="1.5",
        expected="0.5",
        bound="1e-07",
        margin=1e7,
        against_axis=axis,
        against_value=value,
    )
    if "against" in changed:
        changed |= {"against_axis": "", "against_value": ""}
    return msgspec.structs.replace(base, **changed)


def example(**changed: Any) -> Example:
    base = Example(
        case="ab12", settings={"eps": 0.001, "num_groups": 2}, shapes=[[1, 4]],
        inputs=["step 1 train x 0 1 10 11"],
        observed=["step 1 output -0.5 0.25", "step 1 running_mean 3"],
        canonical=["step 1 output 0.75 0.25", "step 1 running_mean 3"],
        followed=["step 1 output -0.5 0.25", "step 1 running_mean 3"],
        choices={"canonical": {}, "followed": {"grouping": "interleaved"}},
        script="print('the numbers')\n",
    )  # fmt: skip
    return msgspec.structs.replace(base, **changed)


OUTSIDE = r"y = \frac{x - E[x]}{\sqrt{Var[x]} + \epsilon} \gamma + \beta"


def claim(verdict: str = "contradicts", **changed: Any) -> Claim:
    base = Claim(
        subject="eps_placement",
        claimed="outside_sqrt",
        quote=OUTSIDE,
        where="the docstring of mlx.nn.GroupNorm",
        measured="inside_sqrt",
        verdict="agrees",
    )
    return msgspec.structs.replace(base, verdict=verdict, **changed)


def agreeing() -> Claim:
    return claim("agrees", claimed="inside_sqrt", quote="y = x / sqrt(var + eps)")


def silent() -> Claim:
    return claim("silent", subject="grouping", claimed=None, quote="", where="")


def counterexample(implementation: str = "torch.nn.GroupNorm", **changed: Any) -> Counterexample:
    base = Counterexample(
        implementation=implementation,
        framework=implementation.partition(".")[0],
        dtype="float32",
        kind="values",
        signature="output, numbers at the end of the range",
        plan="shape (1, 4), huge magnitudes, seed 7",
        measured="nan instead of 0.75",
        sentence=f"{implementation}: output nan instead of 0.75",
        found="explored",
        example=example(),
        stored="build/counterexamples/ab12.json",
        nameless="" if "sentence" in changed else "output nan instead of 0.75",
    )
    return msgspec.structs.replace(base, **changed)


def explored(implementation: str = "torch.nn.GroupNorm", **changed: Any) -> Explored:
    base = Explored(
        implementation=implementation,
        framework=implementation.partition(".")[0],
        dtype="float32",
        accuracy="two_pass",
        plans=256,
        cases=2048,
        refused=17,
        known=3,
    )
    return msgspec.structs.replace(base, **changed)


def diverging(implementation: str = "mlx.nn.GroupNorm", **changed: Any) -> Judgement:
    changed = {"measured": "interleaved", "remedy": "permute", "witnesses": [witness()]} | changed
    return judgement(implementation, "diverges", **changed)


def run(*records: Record, framework: str = "torch") -> list[Record]:
    """A complete run: a header, these records with a profile for each implementation, a footer."""
    judged = [one for one in records if isinstance(one, Judgement)]
    profiled = {(one.implementation, one.dtype) for one in records if isinstance(one, Profile)}
    missing = dict.fromkeys((one.implementation, one.dtype) for one in judged)
    profiles = [profile(name, dtype=dtype) for name, dtype in missing if (name, dtype) not in profiled]
    return [header(framework), *profiles, *records, Footer(counts={"conforms": len(judged)}, seconds=1.5)]


def everything() -> list[list[Record]]:
    """Two runs that use every part of the page."""
    mlx: list[Record] = [
        diverging(example=example(), notes=["a note"]),
        diverging(dtype="float64", example=example(), notes=["a note"]),
        diverging("mlx.nn.GroupNorm(pytorch_compatible=True)", requirement="GN-16", measured="accepted", witnesses=[]),
        judgement("mlx.nn.GroupNorm", "unsupported", requirement="GN-13", notes=["[reshape] of an empty array"]),
        judgement("mlx.nn.GroupNorm", "crashes", requirement="GN-17", measured="killed by signal 11"),
        judgement("mlx.nn.GroupNorm", "cannot tell", requirement="GN-05", sentence="out of range"),
        NotRun(framework="mlx", reason="no float16 here", dtype="float16"),
        profile("mlx.nn.GroupNorm", hazards=["one-pass statistics"], claims=[claim(), silent()]),
        explored("mlx.nn.GroupNorm"),
        counterexample("mlx.nn.GroupNorm"),
    ]
    torch: list[Record] = [
        judgement(),
        judgement(dtype="float64"),
        judgement(requirement="GN-16"),
        profile(claims=[agreeing()]),
    ]
    return [run(*mlx, framework="mlx"), run(*torch)]


def write(path: Path, records: Sequence[Record]) -> Path:
    with ResultsWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path
