"""Forms of the output and of the running statistics for the audit: all of honest.py, combined."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from audit_forms import Case, Form
from honest import OUTPUTS, ROOTS, STATISTICS, UNBIASED, UPDATES, Array, Machine, Statistics, normalised

Measure = Callable[[Machine, Array], Statistics]


def training(f: Machine, case: Case, *, measure: Measure, form: str, root: str) -> Array:
    return _output(f, case, measure(f, case.data.x), form, root)


def evaluation(f: Machine, case: Case, *, form: str, root: str) -> Array:
    return _output(f, case, case.of_old(), form, root)


def _output(f: Machine, case: Case, statistics: Statistics, form: str, root: str) -> Array:
    data, settings = case.data, case.settings
    how: Any = {"eps": settings.eps, "placement": settings.placement, "root": root, "form": form}
    return normalised(f, data.x, statistics, data.weight, data.bias, **how)


def running_mean(f: Machine, case: Case, *, measure: Measure, update: str) -> Array:
    new = measure(f, case.data.x).mean
    return UPDATES[update](f, case.data.old_mean, new, case.settings.momentum)[:, 0]


def running_var(f: Machine, case: Case, *, measure: Measure, update: str, unbiased: str) -> Array:
    new, n = measure(f, case.data.x).var, case.data.x.shape[1]
    if case.settings.divisor == "unbiased":
        new = UNBIASED[unbiased](f, new, n)
    return UPDATES[update](f, case.data.old_var, new, case.settings.momentum)[:, 0]


def _forms() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for form in OUTPUTS:
        for root in ROOTS:
            evaluate = partial(evaluation, form=form, root=root)
            found[f"evaluation y: {form}, {root}"] = Form(
                quantity="evaluation y", accuracy="two_pass", evaluate=evaluate
            )
    for name, (accuracy, measure) in STATISTICS.items():
        for form in OUTPUTS:
            for root in ROOTS:
                evaluate = partial(training, measure=measure, form=form, root=root)
                found[f"y: {name}, {form}, {root}"] = Form(quantity="y", accuracy=accuracy, evaluate=evaluate)
        for update in UPDATES:
            evaluate = partial(running_mean, measure=measure, update=update)
            found[f"running_mean: {name}, {update}"] = Form(
                quantity="running_mean", accuracy=accuracy, evaluate=evaluate
            )
            for unbiased in UNBIASED:
                evaluate = partial(running_var, measure=measure, update=update, unbiased=unbiased)
                found[f"running_var: {name}, {update}, {unbiased}"] = Form(
                    quantity="running_var", accuracy=accuracy, evaluate=evaluate
                )
    return found


FORWARD: Final = _forms()
