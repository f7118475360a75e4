"""Honest implementations against the bounds of their class, a million elements and more for each quantity of each.

``nox -s soak`` runs it, prints a table and fails on any element outside its bound. The implementations are
those of honest.py and honest_backward.py. Every draw has all regimes of data and sets of one length; the sets
are BatchNorm's channels, and the groups of GroupNorm in two samples. ``--write docs/soak.md`` keeps the
tables. The seeds are fixed: the same versions give the same tables.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import honest
import honest_backward
import honest_closed
import numpy as np
from honest import MEANS, REGIMES, Array, Machine
from honest_backward import UPSTREAM
from honest_layers import SAMPLES, Choices, Draw, Implementation, Regime, computed, references

from normgauge.adapters.dtypes import HALF
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic, Reference
from normgauge.oracle.arithmetic import WIDEST

#: Elements that each quantity of each implementation must have been held to.
DEMANDED: Final = 1_000_000


# --- what is run: tables to which rows can be added -----------------------------------------------------


def _summed(kind: str, total: str, *, further: tuple[str, ...] = ()) -> Implementation:
    """Statistics of sums, with each way to divide by n."""
    ways = tuple(f"{kind} {total}{way}" for way in MEANS)
    return Implementation(accuracy=kind, statistics=(*ways, *further), total=total)


IMPLEMENTATIONS: Final = {
    "naive": _summed("two_pass", "sequential"),
    "pairwise": _summed("two_pass", "pairwise"),
    "blocked": _summed("two_pass", "blocked"),
    "Welford": Implementation(
        accuracy="welford", statistics=("welford", "welford times 1/k", "youngs and cramer"), total="sequential"
    ),
    "Welford in lanes": Implementation(accuracy="welford", statistics=("welford in lanes",), total="blocked"),
    "one-pass": _summed("one_pass", "sequential", further=("one_pass sequential of sums",)),
}


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What holds inputs and results, what the implementations compute in, and whose bounds they are held to.

    ``machine`` flushes subnormal numbers to zero or not, ``arithmetic`` is that of an accuracy class.
    """

    store: Machine
    machine: Callable[[bool], Machine]
    arithmetic: Callable[[str], Arithmetic]
    regimes: Mapping[str, Regime] = field(default_factory=lambda: REGIMES)


def _computed_in_float32(dtype: str) -> Rung:
    """All in float32, and inputs and results of ``dtype``."""
    return Rung(
        store=Machine(dtype=dtype),
        machine=lambda flush: Machine(dtype="float32", flush=flush),
        arithmetic=lambda accuracy: Arithmetic("float32", accuracy, storage=dtype),
    )


RUNGS: Final = {dtype: _computed_in_float32(dtype) for dtype in ("float32", *HALF)}


@dataclass(frozen=True, kw_only=True)
class Length:
    """How often sets of one length are drawn, and how many groups of each regime are in a draw."""

    n: int
    draws: int
    groups: int


#: Two samples have half of a set each: one position, and one more than a multiple of what kernels take at a time.
LENGTHS: Final = (
    Length(n=4, draws=40, groups=1000),
    Length(n=34, draws=20, groups=100),
    Length(n=130, draws=20, groups=24),
    Length(n=1_026, draws=12, groups=4),
    Length(n=8_194, draws=6, groups=1),
    Length(n=100_002, draws=2, groups=1),
)


# --- counting -------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Tally:
    """One quantity of one implementation."""

    elements: int = 0
    violations: int = 0
    largest: float = 0.0
    where: str = ""

    def add(self, reference: Reference, actual: Array, where: Callable[[int], str]) -> None:
        ratio = reference.ratio(actual)
        self.elements += int(reference.says_something().sum())
        self.violations += int((ratio > 1).sum())
        worst = int(ratio.argmax())
        if ratio.flat[worst] > self.largest:
            self.largest = float(ratio.flat[worst])
            self.where = where(worst // (ratio.size // len(ratio)))

    def shown(self) -> str:
        held = f"{self.elements / 1e6:.1f} M"
        if self.violations:
            return f"{self.largest:.4g} of {held}, {self.violations:,} outside"
        return f"{self.largest:.2f} of {held}"


Tallies = dict[tuple[str, str, str], Tally]  # by rung, implementation and quantity
#: Median bound/error by rung, quantity, n, implementation and class.
Tightness = dict[tuple[str, str, int, str, str], float]
TIGHTNESS_OF: Final = ("group_norm y", "group_norm dx")


@dataclass(frozen=True, kw_only=True)
class Soak:
    """What is run: all of it by default."""

    lengths: tuple[Length, ...] = LENGTHS
    implementations: Mapping[str, Implementation] = field(default_factory=lambda: IMPLEMENTATIONS)
    rungs: Mapping[str, Rung] = field(default_factory=lambda: RUNGS)

    def tallies(self, tell: Callable[[str], None] = lambda _: None) -> Tallies:
        found: Tallies = {}
        for number, (name, rung) in enumerate(self.rungs.items()):
            for length in self.lengths:
                tell(f"{name}: {length.draws} draws of sets of {length.n:,}")
                for draw in range(length.draws):
                    self._hold(found, name, rung, length, [number, length.n, draw])
        return found

    def _hold(self, found: Tallies, name: str, rung: Rung, length: Length, seed: list[int]) -> None:
        with np.errstate(all="ignore"):  # some regimes overflow
            draw = Draw.of(np.random.default_rng(seed), rung.store, rung.regimes, length.n, length.groups)
        accuracy, wanted = "", {}
        for label, implementation in sorted(self.implementations.items(), key=lambda item: item[1].accuracy):
            if implementation.accuracy != accuracy:  # the references of one class at a time, they are large
                accuracy, wanted = implementation.accuracy, references(draw, rung.arithmetic(implementation.accuracy))
            how = Choices.of(np.random.default_rng([*seed, *label.encode()]), implementation, draw.placement)
            with np.errstate(all="ignore"):
                for quantity, values in computed(implementation, rung.machine(draw.flush), draw, how):
                    where = partial(draw.told, seed, quantity, how)
                    found.setdefault((name, label, quantity), Tally()).add(wanted[quantity], rung.store(values), where)

    def tightness(self, least: int = 20_000, sets: int = 8) -> Tightness:
        """GroupNorm on ordinary data, its plain form and the closed form of dx, each under its own class.

        The first implementation also under the widest; at every length ``least`` elements and ``sets`` sets, or more.
        """
        found: Tightness = {}
        for number, (name, rung) in enumerate(self.rungs.items()):
            for n in (length.n for length in self.lengths):
                groups = max(sets, -(-least // n)) // SAMPLES
                draw = Draw.ordinary(np.random.default_rng([number, n]), rung.store, n, groups)
                wanted = {accuracy: references(draw, rung.arithmetic(accuracy)) for accuracy in ACCURACY_CLASSES}
                for place, (label, one) in enumerate(self.implementations.items()):
                    found_by = dict(computed(one, rung.machine(False), draw, Choices(statistics=one.statistics[0])))
                    for accuracy in (one.accuracy, *([WIDEST] if place == 0 else [])):
                        for quantity in TIGHTNESS_OF:
                            median = median_slack(wanted[accuracy][quantity], rung.store(found_by[quantity]))
                            found[name, quantity, n, label, accuracy] = median
        return found


def median_slack(reference: Reference, actual: Array) -> float:
    """The median of bound/error over the elements that have an error."""
    error = np.abs(actual - reference.value)
    return float(np.median(reference.bound[error > 0] / error[error > 0]))


# --- showing --------------------------------------------------------------------------------------------

PAGE: Final = """# The bounds under soak

<!-- asked: {digest} -->

`nox -s soak -- --write docs/soak.md` wrote this page; the derivations are in [bounds.md](bounds.md).

This page compares correct implementations in NumPy with the error bounds of their accuracy class, element by element:

- implementations: {implementations}, forward and backward;
- inputs: sets of {lengths} values, on {regimes} regimes of data times {upstreams} of dy;
- random choices, from a fixed seed: forms of the output and of the gradient, placement of eps, flushing of subnormal
  numbers;
- random numbers: eps, momentum, sizes of the weights.

Elements with an infinite bound are skipped. `evaluation` is BatchNorm with running statistics. A ratio of 1.00 is
the end of an interval that is reached, or a product that underflows with nothing else to lose
([bounds.md](bounds.md#how-tight-they-are)).

{tallies}

## Median bound/error by n

GroupNorm on standard normal data, weights, biases and dy, eps = 1e-5; the plain form of y and the closed form of dx.
The names of the columns are implementation and class; verdicts are reached under the widest, `{widest}`.

{tightness}
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """As Markdown, aligned."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def tallies_shown(tallies: Tallies, implementations: Mapping[str, Implementation]) -> str:
    """A table for each rung, with a row for each quantity and what lay outside in the last one."""
    shown = []
    for rung in dict.fromkeys(rung for rung, _, _ in tallies):
        rows = [
            [quantity, *(tallies[rung, label, quantity].shown() for label in implementations)]
            for quantity in dict.fromkeys(quantity for _, _, quantity in tallies)
        ]
        outside = [sum(t.violations for key, t in tallies.items() if key[:2] == (rung, i)) for i in implementations]
        head = [f"{label} (`{one.accuracy}`)" for label, one in implementations.items()]
        shown += [
            f"## {rung}: largest error/bound, and elements held",
            table(["quantity", *head], [*rows, ["elements outside", *(f"{count:,}" for count in outside)]]),
        ]
    return "\n\n".join(shown)


def tightness_shown(tightness: Tightness) -> str:
    """A table for each rung and quantity, with a row for each n."""
    shown = []
    for rung, quantity in dict.fromkeys(key[:2] for key in tightness):
        own = {key[2:]: slack for key, slack in tightness.items() if key[:2] == (rung, quantity)}
        columns = dict.fromkeys(key[1:] for key in own)
        rows = [
            [f"{n:,}", *(f"{own[(n, *column)]:,.0f}" for column in columns)]
            for n in dict.fromkeys(key[0] for key in own)
        ]
        head = [f"{label} (`{accuracy}`)" for label, accuracy in columns]
        shown += [f"### {rung}, {quantity.removeprefix('group_norm ')}", table(["n", *head], rows)]
    return "\n\n".join(shown)


def _forms() -> list[tuple[str, tuple[str, ...]]]:
    """The names in every table of the honest modules: data, upstream gradients, forms of each step."""
    tables = {**vars(honest), **{f"{name} backward": one for name, one in vars(honest_backward).items()}}
    tables |= vars(honest_closed)
    return sorted((name, tuple(table)) for name, table in tables.items() if name[:1].isupper() and type(table) is dict)


def digest() -> str:
    """A digest of what is held to which bounds: it changes with a form, a regime or a bound, not with the code."""
    soak = Soak()
    held = [repr((soak.lengths, soak.implementations, [*soak.rungs], _forms()))]
    for name, rung in soak.rungs.items():
        draw = Draw.ordinary(np.random.default_rng(0), rung.store, 16, 8)
        for accuracy in ACCURACY_CLASSES:
            for quantity, reference in references(draw, rung.arithmetic(accuracy)).items():
                held.append(f"{name} {accuracy} {quantity} {float(np.median(reference.bound)):.2g}")
    return "forms and bounds " + hashlib.sha256("\n".join(held).encode()).hexdigest()[:8]


def faults(tallies: Tallies, demanded: int) -> list[str]:
    """What makes the soak fail, in a sentence each."""
    found = []
    for (rung, label, quantity), tally in tallies.items():
        name = f"{rung} {label}, {quantity}"
        if tally.violations:
            found.append(
                f"{name}: {tally.violations:,} of {tally.elements:,} elements outside the bound, "
                f"the furthest {tally.largest:.4g} bounds away: {tally.where}"
            )
        if tally.elements < demanded:
            found.append(f"{name}: {tally.elements:,} elements held, at least {demanded:,} are demanded")
    return found


def main(words: list[str] | None = None, soak: Soak | None = None, demanded: int = DEMANDED) -> int:
    parser = argparse.ArgumentParser(description="Hold honest implementations against the bounds of their class.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="keep the tables as a page, unless something failed")
    options = parser.parse_args(words)
    soak = soak or Soak()
    tallies = soak.tallies(lambda line: print(line, file=sys.stderr, flush=True))
    told = tallies_shown(tallies, soak.implementations)
    print(told, flush=True)
    wrong = faults(tallies, demanded)
    for line in wrong:
        print(line)
    total, outside = (sum(getattr(t, name) for t in tallies.values()) for name in ("elements", "violations"))
    print(f"\n{total:,} elements held, {outside:,} outside")
    if wrong:
        return 1
    tightness = tightness_shown(soak.tightness())
    print(f"\nMedian bound/error\n\n{tightness}")
    if options.write is not None:
        page = PAGE.format(
            implementations=", ".join(soak.implementations),
            regimes=len(REGIMES),
            upstreams=len(UPSTREAM),
            lengths=", ".join(f"{length.n:,}" for length in soak.lengths),
            tallies=told,
            widest=WIDEST,
            tightness=tightness,
            digest=digest(),
        )
        options.write.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
