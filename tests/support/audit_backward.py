"""Forms of the gradients for the audit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from audit_forms import Case, Form
from honest import STATISTICS, SUMMATIONS, Array, Machine, Statistics
from honest_backward import OUTPUTS, SLOPES, THROUGH, Pass, channel_sums, closed_parameter, differentiated, parameter_of
from honest_closed import CLOSED, CLOSED_BY_SET, in_any_order

Evaluate = Callable[[Pass], Array]


def on_batch(f: Machine, case: Case, *, statistics: str, total: str, form: Evaluate) -> Array:
    measured = STATISTICS[statistics][1](f, case.data.x)
    return form(_passed(f, case, measured, total))


def in_evaluation(f: Machine, case: Case, *, total: str, form: Evaluate) -> Array:
    return form(_passed(f, case, case.of_old(), total))


def _passed(f: Machine, case: Case, statistics: Statistics, total: str) -> Pass:
    data, settings = case.data, case.settings
    return Pass(
        f=f,
        x=data.x,
        dy=data.dy,
        weight=np.broadcast_to(data.weight, data.x.shape),
        statistics=statistics,
        eps=settings.eps,
        placement=settings.placement,
        total=SUMMATIONS[total],
    )


def _sums(p: Pass) -> Array:
    return channel_sums(p)[0]


def _bias(p: Pass) -> Array:
    return channel_sums(p)[1]


def _any_order(p: Pass, *, seed: int) -> Array:
    return in_any_order(p, np.random.default_rng(seed))


def _input(p: Pass, *, output: str, slope: str, through: str) -> Array:
    return differentiated(p, output, slope, through)[0]


def _direct(p: Pass, *, output: str) -> Array:
    """dx where the statistics are constants"""
    return OUTPUTS[output](p).direct


def _parameter(p: Pass, *, output: str) -> Array:
    return parameter_of(p, OUTPUTS[output](p).dweight)


#: Of dx, for eps inside the root.
INSIDE: Final[dict[str, Evaluate]] = {
    **CLOSED,
    **CLOSED_BY_SET,
    **{f"any order {seed}": partial(_any_order, seed=seed) for seed in range(40)},
}
#: Automatic differentiation: every output with every slope, and each of these two with every way to the input.
DIFFERENTIATED: Final = [
    (output, slope, list(THROUGH)[(i + j) % len(THROUGH)])
    for i, output in enumerate(OUTPUTS)
    for j, slope in enumerate(SLOPES)
]
WEIGHTS: Final[dict[str, Evaluate]] = {
    "closed": closed_parameter,
    "sums": _sums,
    **{f"differentiated {output}": partial(_parameter, output=output) for output in OUTPUTS},
}
OF_BATCH: Final[dict[str, dict[str, Evaluate]]] = {
    "dx": {
        **INSIDE,
        **{
            f"differentiated {', '.join(how)}": partial(_input, output=how[0], slope=how[1], through=how[2])
            for how in DIFFERENTIATED
        },
    },
    "dweight": WEIGHTS,
    "dbias": {"sum": _bias},
}
IN_EVALUATION: Final[dict[str, dict[str, Evaluate]]] = {
    "evaluation dx": {output: partial(_direct, output=output) for output in OUTPUTS},
    "evaluation dweight": WEIGHTS,
}


def _forms() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for quantity, forms in IN_EVALUATION.items():
        for label, form in forms.items():
            for total in SUMMATIONS:
                evaluate = partial(in_evaluation, total=total, form=form)
                found[f"{quantity}: {total}, {label}"] = Form(quantity=quantity, accuracy="two_pass", evaluate=evaluate)
    for quantity, forms in OF_BATCH.items():
        for label, form in forms.items():
            placements = {"placements": ("inside_sqrt",)} if label in INSIDE else {}
            for total in SUMMATIONS:
                for name, (accuracy, _) in STATISTICS.items():
                    if label.endswith("one_pass") and accuracy != "one_pass":
                        continue
                    evaluate = partial(on_batch, statistics=name, total=total, form=form)
                    found[f"{quantity}: {name}, {total}, {label}"] = Form(
                        quantity=quantity, accuracy=accuracy, evaluate=evaluate, **placements
                    )
    return found


BACKWARD: Final = _forms()
