"""Every remedy on the layers that it is shown for, on generated cases and on the cases of its requirement.

    python tests/support/remedied.py RESULTS.jsonl ...

Each file has the results of one framework, which must be installed here (lucid: see ``frameworks.python_of``). A remedy
is applied to each implementation that diverges from the remedy's requirement, and what comes out is compared with the
canonical semantics on every axis. Where the layer departs on other axes, too, their remedies are applied as well.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from remedy_cases import Only, Wish, cases_of
from remedy_layers import Mended, Native, Real, Workers

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.remedies import statistics
from normgauge.conformance.remedies.remedy import Advice, Apply, Layer, NotMended, Remedy, advice_for
from normgauge.oracle import Arithmetic, precisions
from normgauge.results.file import read_records
from normgauge.results.records import DIVERGENT, Judgement, Profile

#: Where the type that is computed in is what the remedy is about.
_ABOUT_PRECISION: Final = ("GN-18", "BN-22", "BN-26")
#: Where the remedy is to sum in float32, and the bound is that of float32 sums.
_ABOUT_HALF: Final = ("GN-24", "GN-30", "GN-35", "BN-32", "BN-39", "BN-45")
#: What half precision or an eval alone need not show.
_WITHIN_BOTH: Final = ("accuracy=one_pass", "running_var=biased")
#: The order in which remedies of several axes stand before a layer, the nearest to it first.
_ORDER: Final = ("momentum_weighs", "running_var", "momentum_none")
#: What is done to a layer that lives on, so that a new one for every step will not do.
_LASTING: Final = ("freeze", "unfreeze", "freeze_model", "unfreeze_model")


def _variance(case: Case, layer: Layer) -> Observation:
    """The remedy for the running variance that lets the layer live on where something lasts."""
    lasting = any(action.name in _LASTING for step in case.steps for action in step.before)
    apply = statistics.variance_rescaled_at_the_end if lasting else statistics.variance_rescaled
    return apply(case, layer)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Advice and an implementation that it is shown for."""

    advice: Advice
    framework: str
    identity: ImplementationId
    dtype: str
    ranks: tuple[int, ...]
    computes_in: str
    departures: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.advice.key} {self.identity} {self.dtype}: {self.advice.sentence[:60]}"

    def layer(self, workers: Workers, *, mended: bool) -> Layer:
        """The layer behind the remedies of its other departures, and behind this one if ``mended``."""
        advice = self.advice
        found: Layer = Real(workers=workers, framework=self.framework, identity=self.identity)
        if mended and isinstance(advice, Remedy) and advice.natively:
            found = Native(workers=workers, framework=self.framework, identity=self.identity, natively=advice.natively)
        own, others = advice.key.partition("=")[0], self._others()
        if mended and isinstance(advice, Remedy) and advice.apply is not None:
            others[own] = advice.apply
        for axis in sorted(others, key=_place):
            found = Mended(layer=found, apply=others[axis])
        return found

    def _others(self) -> dict[str, Apply]:
        """The remedies of the other axes on which the layer departs, by axis."""
        found: dict[str, Apply] = {}
        for axis, value in self.departures.items():
            if axis in {self.advice.key.partition("=")[0], "single_value"}:
                continue
            known = advice_for(kind_of(self.advice.layer).advice, f"{axis}={value}", self.identity, self.dtype)
            applied = [one.apply for one in known if isinstance(one, Remedy) and one.apply]
            if applied:
                found[axis] = _variance if axis == "running_var" else applied[-1]
        return found

    @property
    def ladder(self) -> tuple[Arithmetic, ...]:
        dtype, key = self.dtype, self.advice.key
        if dtype == "float64":
            single = self.computes_in.startswith("float32") and key not in _ABOUT_PRECISION
            found: tuple[Arithmetic, ...] = (Arithmetic("float32" if single else "float64"),)
        else:
            found = precisions(dtype)
        if key in _ABOUT_HALF:
            return found[:1]
        if key == "accuracy=one_pass":
            return tuple(replace(one, accuracy="two_pass") for one in found)
        return found


def _place(axis: str) -> int:
    return _ORDER.index(axis) if axis in _ORDER else len(_ORDER)


@dataclass(kw_only=True)
class Outcome:
    """What a remedy came to on one implementation, in units of the bound; ``before`` is without it."""

    pair: Pair
    cases: int = 0
    largest: float = 0.0
    before: float = 0.0
    worst: str = ""

    @property
    def holds(self) -> bool:
        return self.cases > 0 and self.largest <= 1


def pairs_in(path: Path) -> tuple[list[Pair], list[tuple[str, str, str]]]:
    """What is shown of one framework's results, and the divergences for which nothing is."""
    records = read_records(path)
    profiles = {(one.implementation, one.dtype): one for one in records if isinstance(one, Profile)}
    found, silent = [], []
    for key, profile in profiles.items():
        own = [one for one in records if isinstance(one, Judgement) and (one.implementation, one.dtype) == key]
        departures = {a.axis: a.measured[0] for a in profile.axes if profile.known and a.canonical not in a.measured}
        causes: dict[str, None] = {}
        for one in own:
            requirement = requirements()[one.requirement]
            if one.verdict in DIVERGENT and one.verdict != "crashes":
                cause = f"{requirement.axis}={one.measured}" if requirement.axis else one.requirement
                causes[cause] = None
        if any(hazard.startswith("one-pass") for hazard in profile.hazards):
            causes["accuracy=one_pass"] = None
        identity = ImplementationId.parse(profile.implementation, profile.mode)
        for cause in causes:
            advice = advice_for(kind_of(profile.layer).advice, cause, identity, profile.dtype)
            # Where it refuses a rank that it must take, the remedy for that is another.
            refused = "BN-12" in causes and cause not in {"BN-12", "BN-25"}
            found += [
                Pair(
                    advice=one,
                    framework=profile.framework,
                    identity=identity,
                    dtype=profile.dtype,
                    ranks=tuple(rank for rank in profile.ranks if not (refused and rank == 2)),
                    computes_in=profile.computes_in,
                    departures=departures,
                )
                for one in advice
            ]
            silent += [] if advice else [(cause, profile.implementation, profile.dtype)]
    return found, silent


def ratio(case: Case, observation: Observation, quantities: Sequence[str], pair: Pair) -> tuple[float, str]:
    """How far an observation lies from the canonical semantics, in units of the bound, and where."""
    canonical = kind_of(case.layer).canonical
    best = (math.inf, "nothing was compared")
    for arithmetic in pair.ladder:
        prediction = predict(case, canonical, arithmetic)
        short = len(observation.steps) < len(prediction.steps)
        if observation.died or short or (observation.raised is not None) != (prediction.refused is not None):
            said = observation.died or observation.raised or "it ended early or was not refused"
            return math.inf, str(said)[:200]
        if pair.advice.key in {"BN-24", "GN-20"} and any(one.dtype != case.dtype for one in observation.steps):
            return math.inf, "another type"
        found = compare(observation, prediction, quantities)
        if math.isnan(found.ratio):
            return math.nan, repr(found)
        best = min(best, (found.ratio, f"step {found.step} {found.quantity}{list(found.index)} {found.observed!r} "
                          f"for {found.expected!r} ± {found.bound:.3g}"), key=lambda one: one[0])  # fmt: skip
        if best[0] <= 1:
            break
    return best


def outcome(pair: Pair, workers: Workers, seeds: Iterable[int], most: int | None = None) -> Outcome:
    """The remedy of a pair on every case that the layer has, ``most`` of them the requirement's own."""
    found = Outcome(pair=pair)
    mended, plain = (pair.layer(workers, mended=one) for one in (True, False))
    wish = Wish(
        kind=pair.advice.layer, key=pair.advice.key, dtype=pair.dtype, ranks=pair.ranks,
        only=ONLY.get(pair.advice.apply, "") if isinstance(pair.advice, Remedy) else "",
        equal_samples=pair.identity.mode == "expanded",
    )  # fmt: skip
    for label, case, quantities in cases_of(wish, seeds, most):
        asked, seen = _asked(mended, case)
        if seen.unsupported or _cannot_be_saved(seen, asked, plain):
            continue
        found.cases += 1
        largest, where = ratio(asked, seen, quantities, pair)
        if not largest <= max(found.largest, 1) or largest > found.largest:
            found.largest, found.worst = largest, f"{label}: {where}"
        if not found.before > 1:
            asked, unmended = _asked(plain, case)
            if not unmended.unsupported:
                found.before = max(found.before, ratio(asked, unmended, quantities, pair)[0])
    return found


def _asked(layer: Layer, case: Case) -> tuple[Case, Observation]:
    """What a layer does on the case, or on the same case without gradients where it has none."""
    seen = layer.run(case)
    if seen.unsupported and any(step.dy is not None for step in case.steps):
        case = replace(case, steps=tuple(replace(step, dy=None) for step in case.steps))
        seen = layer.run(case)
    return case, seen


def _cannot_be_saved(seen: Observation, case: Case, plain: Layer) -> bool:
    """Whether it raises where the state is saved, with the remedy or without: that is another requirement."""
    saves = any(action.name == "save_load" for step in case.steps for action in step.before)
    return saves and seen.raised is not None and plain.run(case).raised == seen.raised


#: Remedies that say nothing of other cases than these.
ONLY: Final[Mapping[Apply | None, Only]] = {
    statistics.variance_rescaled_at_the_end: "training",
    statistics.start_given_back: "training",
    statistics.debiasing_undone: "training",
    statistics.moved_as_it_is: "eval",
    statistics.shifted_once: "one mean",
}


def sample(pairs: Iterable[Pair]) -> list[Pair]:
    """One pair for each remedy: float32, where it is shown for that, and the first layer."""
    found: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda one: one.dtype != "float32"):
        found.setdefault((pair.advice.key, pair.advice.sentence), pair)
    return list(found.values())


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Apply every remedy to the layers that it is shown for.")
    parser.add_argument("results", nargs="+", type=Path, help="result files, or folders of them")
    parser.add_argument("--seeds", type=int, default=6, help="generated cases per remedy and layer (default: 6)")
    parser.add_argument("--sample", action="store_true", help="each remedy on one layer, in few cases")
    parser.add_argument("--only", default="", help="only remedies whose name has this text")
    options = parser.parse_args(words)
    files = [file for one in options.results for file in (sorted(one.glob("*.jsonl")) if one.is_dir() else [one])]
    wrong = 0
    for file in files:
        begun, workers = time.monotonic(), Workers()
        pairs, silent = pairs_in(file)
        done = []
        asked = [one for one in pairs if options.only in one.name and isinstance(one.advice, Remedy)]
        for pair in sample(asked) if options.sample else asked:
            one = outcome(pair, workers, range(options.seeds), 2 if options.sample else None)
            done.append(one)
            if not one.holds or (one.before <= 1 and pair.advice.key not in _WITHIN_BOTH):
                wrong += not one.holds
                print(f"  {'FAILS' if not one.holds else 'was right before'}: {one.pair.name}: {one.cases} cases, "
                      f"{one.before:.3g} -> {one.largest:.3g}; {one.worst}", flush=True)  # fmt: skip
        workers.close()
        never = [one for one in pairs if isinstance(one.advice, NotMended)]
        cases, largest = sum(one.cases for one in done), max((one.largest for one in done), default=0.0)
        sentences = len({(one.pair.advice.key, one.pair.advice.sentence) for one in done})
        without = sorted({(cause, name) for cause, name, _ in silent})
        print(f"{file.stem}: {sentences} remedies on {len(done)} layers and dtypes, {cases} cases, largest difference "
              f"{largest:.3g} of the bound, {sum(not one.holds for one in done)} outside, {len(never)} not mended, "
              f"{time.monotonic() - begun:.0f} s; no remedy: {without}", flush=True)  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
