"""Forms of the gradients for the audit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from audit_forms import Case, Form
from honest import STATISTICS, SUMMATIONS, Array, Machine, Statistics
from honest_backward import CLOSED, Pass, channel_sums, closed_parameter

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


def _constant(p: Pass) -> Array:
    """w dy r, where the statistics are constants"""
    return p.f(p.f(p.dy * p.weight) * p.r)


#: By quantity. Those of dx are for eps inside the root.
OF_QUANTITY: Final[dict[str, dict[str, Evaluate]]] = {
    "dx": dict(CLOSED),
    "dweight": {"closed": closed_parameter, "sums": _sums},
    "dbias": {"sum": _bias},
    "evaluation dx": {"constant": _constant},
    "evaluation dweight": {"closed": closed_parameter, "sums": _sums},
}


def _forms() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for quantity, forms in OF_QUANTITY.items():
        for label, form in forms.items():
            for total in SUMMATIONS:
                if quantity.startswith("evaluation"):
                    evaluate = partial(in_evaluation, total=total, form=form)
                    found[f"{quantity}: {total}, {label}"] = Form(
                        quantity=quantity, accuracy="two_pass", evaluate=evaluate
                    )
                    continue
                for name, (accuracy, _) in STATISTICS.items():
                    evaluate = partial(on_batch, statistics=name, total=total, form=form)
                    inside = {"placements": ("inside_sqrt",)} if quantity == "dx" else {}
                    found[f"{quantity}: {name}, {total}, {label}"] = Form(
                        quantity=quantity, accuracy=accuracy, evaluate=evaluate, **inside
                    )
    return found


BACKWARD: Final = _forms()
