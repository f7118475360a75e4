"""The layers that remedies are applied to: those of the frameworks, and layers behind a remedy."""

from __future__ import annotations

import ast
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from frameworks import python_of

from normgauge.adapters.actions import bare
from normgauge.adapters.case import Action, Case, Implementation, Observation
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.lacks import lacking
from normgauge.adapters.registry import adapter_class
from normgauge.conformance.remedies.remedy import Act, Apply, Layer
from normgauge.conformance.subjects.in_process import InProcess
from normgauge.conformance.subjects.subject import Launch, Subject
from normgauge.conformance.subjects.worker_process import WorkerProcess


class Workers:
    """Frameworks where they run: each in a process of its own, or all in this one."""

    def __init__(self, *, in_process: bool = False) -> None:
        self._in_process = in_process
        self._started: dict[tuple[str, str], Subject] = {}
        self._pools: dict[tuple[str, str], ProcessPoolExecutor] = {}

    def of(self, framework: str, dtype: str) -> Subject:
        key = _process(framework, dtype)
        if key not in self._started:
            if self._in_process:
                self._started[key] = InProcess(Launch(framework=framework), dtype)
            else:
                launch = Launch(framework=framework, python=python_of(framework), time_limit=240.0)
                self._started[key] = WorkerProcess(launch, dtype)
        return self._started[key]

    def pool(self, framework: str, dtype: str) -> ProcessPoolExecutor:
        """A process in which functions are run beside the framework."""
        key = _process(framework, dtype)
        if key not in self._pools:
            self._pools[key] = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        return self._pools[key]

    def close(self) -> None:
        for one in self._started.values():
            one.close()
        for pool in self._pools.values():
            pool.shutdown()


def _process(framework: str, dtype: str) -> tuple[str, str]:
    """In which process a dtype of a framework may be run: a framework reads its environment once."""
    adapter = adapter_class(framework)
    return framework, str(adapter.environment(dtype)) if adapter.dtypes_together else dtype


@dataclass(frozen=True, kw_only=True)
class Real:
    """A layer of a framework."""

    workers: Workers
    framework: str
    identity: ImplementationId

    def run(self, case: Case) -> Observation:
        subject = self.workers.of(self.framework, case.dtype)
        if str(self.identity) not in {one.id for one in subject.greeting.implementations}:
            return Native(workers=self.workers, framework=self.framework, identity=self.identity).run(case)
        (seen,) = subject.run(str(self.identity), [case])
        return seen

    def other(self, **changes: str) -> Real:
        backend = changes.get("backend")
        framework = self.framework if backend is None else f"keras-{backend}"
        return replace(self, framework=framework, identity=replace(self.identity, **changes))


@dataclass(frozen=True, kw_only=True)
class Native:
    """A layer to which other functions are applied in place of some actions, or one that its adapter does not list.

    It is in a process of its framework.
    """

    workers: Workers
    framework: str
    identity: ImplementationId
    natively: Mapping[str, Act] = field(default_factory=dict)

    def run(self, case: Case) -> Observation:
        pool = self.workers.pool(self.framework, case.dtype)
        return pool.submit(run_natively, self.framework, self.identity, dict(self.natively), case).result()

    def other(self, **changes: str) -> Native:
        return replace(self, identity=replace(self.identity, **changes))


def run_natively(framework: str, identity: ImplementationId, natively: Mapping[str, Act], case: Case) -> Observation:
    """What a layer does on a case where a function of ``natively`` stands for the action of its name."""
    os.environ.update(adapter_class(framework).environment(case.dtype))
    adapter: Any = adapter_class(framework)(case.dtype)
    usual = adapter.acted

    def acted(implementation: Implementation, own: Case, layer: Any, action: Action) -> Any:
        if action.name not in natively:
            return usual(implementation, own, layer, action)
        if action.name == "save_load":
            new = adapter.construct(implementation, bare(own))
            natively[action.name](layer["layer"], new["layer"])
            return new
        held = layer["layer"]
        if action.name.endswith("_model"):
            held = layer.setdefault("model", None) or adapter.module.model_of(held)
            layer["model"] = held
        values = () if action.value is None else (action.value,)
        layer.update(natively[action.name](held, *values) or {})
        return layer

    adapter.acted = acted
    implementation = _implementation(adapter, identity)
    adapter.implementation = lambda _: implementation
    reason = lacking(adapter.lacks(implementation), case)
    return Observation(unsupported=reason) if reason else adapter.run(implementation.id, case)


def _implementation(adapter: Any, identity: ImplementationId) -> Implementation:
    """The adapter's own, or its layer with other options in the same mode."""
    plain = replace(identity, options="")
    for one in adapter.implementations:
        if one.identity == identity:
            return one
    base = next(one for one in adapter.implementations if one.identity == plain)
    options = dict(part.split("=") for part in identity.options.split(", "))
    return replace(base, options={name: ast.literal_eval(value) for name, value in options.items()})


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A layer behind a remedy."""

    layer: Layer
    apply: Apply

    @property
    def identity(self) -> ImplementationId:
        return self.layer.identity

    def run(self, case: Case) -> Observation:
        return self.apply(case, self.layer)

    def other(self, **changes: str) -> Mended:
        return replace(self, layer=self.layer.other(**changes))
