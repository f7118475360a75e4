"""A search for the largest ratio error / bound of any honest form: random restarts and hill climbing.

``nox -s audit`` runs it and fails on any ratio above 1. ``--seconds 3600`` searches for an hour, ``--only "evaluation
y"`` among the forms whose name contains that, ``--seed`` elsewhere. Each restart draws a form, a length, settings,
flushing or not, and 256 sets that climb side by side, each over its own numbers. The sets are the channels of a
BatchNorm; GroupNorm shares all of its formulas.

A form is registered as a record ``Form`` in a table: ``FORWARD`` in audit_forward.py, ``BACKWARD`` in
audit_backward.py (``NCNN`` in audit_ncnn.py is what ncnn itself computes). Its name says the quantity first. It then
takes part in every search, in all types, and in the short one of ``tests/oracle/test_audit.py``. An order of
evaluation that any of the tables in honest.py, honest_backward.py and honest_closed.py has (SUMMATIONS, STATISTICS,
OUTPUTS, ROOTS, UPDATES, CLOSED, CLOSED_BY_SET) is registered by that.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from audit_backward import BACKWARD
from audit_forms import LENGTHS, Case, Data, Form, Settings
from audit_forward import FORWARD
from audit_ncnn import NCNN
from honest import Array, Machine, Shading
from soak import table

from normgauge.oracle import (
    ACCURACY_CLASSES,
    Arithmetic,
    Reference,
    batch_norm,
    batch_norm_backward,
    initial_statistics,
    semantics,
)

FORMS: Final[dict[str, Form]] = {**FORWARD, **BACKWARD, **NCNN}
QUANTITIES: Final = (
    "y",
    "evaluation y",
    "running_mean",
    "running_var",
    "dx",
    "dweight",
    "dbias",
    "evaluation dx",
    "evaluation dweight",
)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What holds inputs and results, what forms compute in, and whose bounds they are held to."""

    store: Machine
    machine: Callable[[bool], Machine]
    arithmetic: Callable[[str], Arithmetic]


def _plain(dtype: str) -> Rung:
    """All in one type."""
    return Rung(
        store=Machine(dtype=dtype),
        machine=lambda flush: Machine(dtype=dtype, flush=flush),
        arithmetic=lambda accuracy: Arithmetic(dtype, accuracy),
    )


def _stored(dtype: str) -> Rung:
    """Sums in float32, all else in a half type."""
    return Rung(
        store=Machine(dtype=dtype),
        machine=lambda flush: Machine(dtype=dtype, flush=flush, sums="float32"),
        arithmetic=lambda accuracy: Arithmetic("float32", accuracy, storage=dtype, stored=True),
    )


def _computed(dtype: str) -> Rung:
    """Computed in float32, and rounded to a half type."""
    return Rung(
        store=Machine(dtype=dtype),
        machine=lambda flush: Machine(dtype="float32", flush=flush),
        arithmetic=lambda accuracy: Arithmetic("float32", accuracy, storage=dtype),
    )


def _shading(flush: bool) -> Machine:
    return Shading(dtype="float32", flush=flush)


HALVES: Final = ("float16", "bfloat16")
RUNGS: Final = {
    **{dtype: _plain(dtype) for dtype in ("float32", "float64")},
    "float32, shading": Rung(
        store=Machine(dtype="float32"),
        machine=_shading,
        arithmetic=lambda accuracy: Arithmetic("float32", accuracy, shading=True),
    ),
    **{f"{dtype}, float32 computes": _computed(dtype) for dtype in HALVES},
    **{f"{dtype}, stored": _stored(dtype) for dtype in HALVES},
    **{f"{dtype}, all in half": _plain(dtype) for dtype in HALVES},
}


def reference(case: Case, arithmetic: Arithmetic, quantity: str) -> Reference:
    """What the oracle says of a quantity, in the shape that forms give."""
    settings, data = case.settings, case.data
    name = quantity.removeprefix("evaluation ")
    choices = {"eps_placement": settings.placement, "running_var": settings.divisor, "single_value": "shift"}
    running = initial_statistics(data.old_mean[:, 0], data.old_var[:, 0])
    call: dict[str, Any] = {"training": name == quantity, "momentum": settings.momentum, "eps": settings.eps}
    call |= {"semantics": semantics("batch_norm", **choices), "arithmetic": arithmetic}
    if name in {"dx", "dweight", "dbias"}:
        found = getattr(batch_norm_backward(data.x.T, data.dy.T, running, data.weight[:, 0], **call), name)
    else:
        forward = batch_norm(data.x.T, running, data.weight[:, 0], data.bias[:, 0], **call)
        found = forward.output if name == "y" else getattr(forward.running, name.removeprefix("running_"))
    return Reference(value=found.value.T, bound=found.bound.T)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The largest ratio of a climb, and where it is."""

    ratio: float
    form: str
    seed: tuple[int, ...]
    case: Case  # of the one set


@dataclass(frozen=True, kw_only=True)
class Search:
    """Restarts of ``climbers`` sets and ``steps`` mutations each."""

    forms: Mapping[str, Form]
    climbers: int = 256
    steps: int = 80

    def climb(self, rung: Rung, name: str, seed: tuple[int, ...]) -> Found:
        """The largest ratio that one restart finds; the same seed finds the same."""
        rng, form = np.random.default_rng(seed), self.forms[name]
        settings = Settings.of(rng, form.placements)
        machine, n = rung.machine(bool(rng.integers(2))), int(rng.choice(LENGTHS))

        def ratios(data: Data) -> Array:
            return self.ratios(rung, form, machine, Case(settings=settings, data=data))

        with np.errstate(all="ignore"):  # honest arithmetic may overflow
            best = Data.of(rng, settings, (self.climbers, n)).held(rung.store)
            reached = ratios(best)
            for _ in range(self.steps):
                moved = best.mutated(rng).held(rung.store)
                ratio = ratios(moved)
                best, reached = best.better_of(moved, ratio > reached), np.maximum(ratio, reached)
        top = int(reached.argmax())
        own = Data(**{part: value[top : top + 1] for part, value in best.parts()})
        return Found(ratio=float(reached[top]), form=name, seed=seed, case=Case(settings=settings, data=own))

    @staticmethod
    def ratios(rung: Rung, form: Form, machine: Machine, case: Case) -> Array:
        """The largest error / bound of each set."""
        got = rung.store(form.evaluate(machine, case.read_by(machine)))
        ratio = reference(case, rung.arithmetic(form.accuracy), form.quantity).ratio(got)
        return np.asarray(ratio.reshape(len(case.data.x), -1).max(axis=1))

    def cells(self) -> list[tuple[str, str]]:
        """The quantities and classes that there are forms of."""
        there = {(form.quantity, form.accuracy) for form in self.forms.values()}
        return [
            (quantity, accuracy)
            for quantity in QUANTITIES
            for accuracy in ACCURACY_CLASSES
            if (quantity, accuracy) in there
        ]

    def rounds(self, rungs: Mapping[str, Rung], seed: int, number: int) -> dict[tuple[str, str, str], Found]:
        """One restart for every rung, quantity and class: its form is drawn."""
        found = {}
        for place, (label, rung) in enumerate(rungs.items()):
            for at, cell in enumerate(self.cells()):
                names = [name for name, form in self.forms.items() if form.is_in(label, *cell)]
                if names:
                    key = (seed, number, place, at)
                    found[label, *cell] = self.climb(rung, str(np.random.default_rng(key).choice(names)), key)
        return found


Largest = dict[tuple[str, str, str], Found]  # by rung, quantity and class


def search(made: Search, rungs: Mapping[str, Rung], seed: int, goes_on: Callable[[int], bool]) -> tuple[Largest, int]:
    """The largest ratio by rung, quantity and class, and the number of rounds."""
    largest: Largest = {}
    number = 0
    while goes_on(number):
        for key, found in made.rounds(rungs, seed, number).items():
            if key not in largest or found.ratio > largest[key].ratio:
                largest[key] = found
        number += 1
    return largest, number


def shown(largest: Largest) -> str:
    """A table with a row for each type and quantity."""
    head = ["type", "quantity", *ACCURACY_CLASSES]
    rows: dict[tuple[str, str], list[str]] = {}
    for (rung, quantity, accuracy), found in largest.items():
        row = rows.setdefault((rung, quantity), [""] * len(ACCURACY_CLASSES))
        row[ACCURACY_CLASSES.index(accuracy)] = f"{found.ratio:.3g}"
    return table(head, [[*key, *row] for key, row in rows.items()])


def outside(largest: Largest) -> list[str]:
    """What lies outside its bound, with all that is needed to see it again."""
    return [
        f"{rung}, {found.form}: {found.ratio:.6g} of the bound, seed {found.seed}\n    {found.case}"
        for (rung, _, _), found in largest.items()
        if not found.ratio <= 1
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Search for the largest ratio error/bound of honest forms.")
    parser.add_argument("--seconds", type=float, default=60.0, help="time of the search, in seconds (default 60)")
    parser.add_argument("--rounds", type=int, help="number of rounds, in place of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="search among the forms whose name contains this")
    parser.add_argument("--types", nargs="*", choices=list(RUNGS), default=list(RUNGS), metavar="TYPE")
    given = parser.parse_args(arguments)
    forms = {name: form for name, form in FORMS.items() if given.only in name}
    if not forms:
        parser.error(f"no form's name contains {given.only!r}; the quantities are: {', '.join(QUANTITIES)}")
    end = time.monotonic() + given.seconds
    rungs = {name: RUNGS[name] for name in given.types}
    goes_on = (lambda number: number < given.rounds) if given.rounds else (lambda _: time.monotonic() < end)
    largest, rounds = search(Search(forms=forms), rungs, given.seed, goes_on)
    print(f"{len(forms):,} forms, {rounds:,} rounds of {len(largest)} climbs, seed {given.seed}\n\n{shown(largest)}")
    wrong = outside(largest)
    print("\n".join(["", *wrong]) if wrong else "\nNo form lies outside its bound.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
