"""The mutation table: the results of the suite and of three other ways of testing for every fault of ``faulty.faults``.

``nox -s mutants`` runs every fault and prints the totals; ``--write docs/mutants.md`` writes the table, and beside it
the figures of the report (reports/mutants.json). A fault is
*caught* if a requirement falls or nothing can be measured. A fault is *named* if its report contains the phrase in the
column "must be named as". The peers are those of peers.py.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from digests import CURRENT, PROJECT
from faulty.faults.fault import Fault
from faulty.faults.table import FAULTS
from peers import PEERS
from references import InMemory

from normgauge.conformance.run import parallel
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.reports.page.suite import OWN, Mutants
from normgauge.results.records import DIVERGENT, Judgement, NotRun, Record

ADAPTER: Final = "faulty.faults.table:FaultsAdapter"
#: What the report page shows of the table.
FIGURES: Final = PROJECT / "reports" / "mutants.json"
#: The number of requirements that a report should have for a fault, at most: a mistake is a single difference.
MOST_TOLD: Final = 3
PAGE: Final = """# The mutation table

<!-- asked: {digest} -->

`nox -s mutants -- --write docs/mutants.md` wrote this page. Each row is a fault of `tests/faulty/faults`: a correct
NumPy layer with a mistake in one step. The mistake was shipped, was reported, or is a classic mistake of kernels.

- *caught by*: the requirements that fell. A fault is caught if a requirement falls or if nothing can be measured.
- *fell*: the number of these requirements.
- *reported*: the number without requirements that fall with another requirement (`falls_with`,
  [verdicts.md](verdicts.md)). Every requirement that fell has a separate verdict and a separate expectation.
- *named*: whether the report contains the phrase in the column before.

{totals}

The peers run on the same faults in the same run:

- **ONNX**: the node test cases of the `onnx` package for BatchNormalization and GroupNormalization, with its data and
  tolerances. The cases cover the forward pass and the running statistics of training.
- **one shape**: output, running statistics and gradients are compared with torch's layer by
  `torch.testing.assert_close` with its defaults. The input is a single `randn` array of shape (2, 32, 8, 8) with 8
  groups, with one call in training and one in eval.
- **benchdnn**: an imitation of oneDNN's test for training. It has the fill of the bnorm driver and sparse integers as
  dy. The threshold and the three shapes are chosen here, and differ from oneDNN's.

{families}
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results for a fault; ``told`` is ``fallen`` without requirements that fall with another one."""

    fault: Fault
    fallen: tuple[str, ...]
    told: tuple[str, ...]
    named: bool
    measured: bool
    peers: dict[str, bool]

    @property
    def caught(self) -> bool:
        return bool(self.fallen) or not self.measured


def records_of(fault: Fault, *, diagnosis_only: bool = False) -> list[Record]:
    """The records of a fault at the dtype that shows it, without exploration, in this process."""
    wanted = Wanted(
        dtypes=(fault.mistake.dtype,), implementations=(fault.id,), in_process=True, diagnosis_only=diagnosis_only
    )
    return list(run_framework(Launch(framework=ADAPTER), wanted))


def outcome(fault: Fault, records: Iterable[Record], peers: dict[str, bool]) -> Outcome:
    records = list(records)
    fallen = [r for r in records if isinstance(r, Judgement) and r.verdict in DIVERGENT]
    reasons = [r.reason for r in records if isinstance(r, NotRun)]
    said = " ".join([*(f"{r.measured} {r.sentence} {' '.join(r.notes)}" for r in fallen), *reasons])
    return Outcome(
        fault=fault,
        fallen=tuple(r.requirement for r in fallen),
        told=tuple(r.requirement for r in fallen if not r.falls_with),
        named=re.search(fault.mistake.named, said, re.IGNORECASE) is not None,
        measured=not reasons,
        peers=peers,
    )


def outcomes(
    faults: Sequence[Fault], peers: dict[str, Callable[[Fault], bool]], tell: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    found = []
    for fault in faults:
        one = outcome(fault, records_of(fault), {name: peer(fault) for name, peer in peers.items()})
        found.append(one)
        tell(f"{fault.id}: {len(one.told)} of {len(one.fallen)} reported{', named' if one.named else ''} {one.peers}")
    return found


# --- showing ----------------------------------------------------------------------------------------------


def totals(found: Sequence[Outcome]) -> str:
    count = len(found)

    def share(number: int) -> str:
        return f"{number} of {count} ({100 * number / count:.0f} %)"

    own = figures(found)
    peers = list(found[0].peers) if found else []
    caught = [one for one in found if one.caught]
    rows = [
        ["", OWN, *peers],
        ["---"] * (len(peers) + 2),
        ["caught", *(share(number) for number in own.caught.values())],
        ["named", share(sum(one.named for one in found)), *("-" for _ in peers)],
        [f"reported by at most {MOST_TOLD} requirements", share(sum(len(one.told) <= MOST_TOLD for one in caught)),
         *("-" for _ in peers)],
        ["median requirements that report a fault", f"{statistics.median(len(one.told) for one in caught):g}",
         *("-" for _ in peers)],
        ["median requirements that fall", f"{statistics.median(len(one.fallen) for one in caught):g}",
         *("-" for _ in peers)],
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figures(found: Sequence[Outcome]) -> Mutants:
    """How many faults each way of testing catches."""
    peers = list(found[0].peers) if found else []
    caught = {name: sum(one.peers[name] for one in found) for name in peers}
    return Mutants(faults=len(found), caught={OWN: sum(one.caught for one in found)} | caught)


def written(found: Mutants) -> bytes:
    """The figures as they stand in their file."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def table(found: Sequence[Outcome]) -> str:
    peers = list(found[0].peers)
    header = ["fault", "layer", "why", "must be named as", "named", "reported", "fell", "caught by", *peers]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for one in found:
        mistake = one.fault.mistake
        name = f"[{mistake.name}]({mistake.link})" if mistake.link else mistake.name
        by = " ".join(one.fallen[:6]) + (" …" if len(one.fallen) > 6 else "") if one.measured else "nothing measured"
        phrase = f"`{mistake.named}`".replace("|", "\\|")
        why = mistake.why.replace("|", "\\|")
        cells = [
            name, one.fault.kind, why, phrase, "yes" if one.named else "no",
            str(len(one.told)), str(len(one.fallen)), by or "nothing",
            *("yes" if one.peers[peer] else "no" for peer in peers),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(found: Sequence[Outcome], digest: str) -> str:
    families = dict.fromkeys(one.fault.family for one in found)
    sections = [
        f"## {family.capitalize()}\n\n{table([one for one in found if one.fault.family == family])}"
        for family in families
    ]
    return PAGE.format(digest=digest, totals=totals(found), families="\n\n".join(sections))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run every fault through the suite and three other ways of testing.")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the table to this file, and the report's figures"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="run faults with this text in their id or family")
    options = parser.parse_args(words)
    faults = [one for one in FAULTS if options.only in f"{one.id} {one.family}"]
    if not faults:
        parser.error(f"--only {options.only}: no fault has this text in its id or family; a valid id is {FAULTS[0].id}")
    store = InMemory()
    vars(parallel)["default_store"] = lambda: store
    found = outcomes(faults, PEERS, lambda line: print(line, file=sys.stderr, flush=True))
    print(totals(found))
    if options.write is not None:
        options.write.write_text(page(found, CURRENT["docs/mutants.md"]()), encoding="utf-8")
        if not options.only:
            FIGURES.write_bytes(written(figures(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
