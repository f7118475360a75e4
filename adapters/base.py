"""What an adapter is: the translation between a case and one framework's layer. NumPy alone is needed here."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import math
import platform
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from normgauge.adapters.actions import Acting, bare
from normgauge.adapters.case import (
    Array,
    Case,
    Implementation,
    Observation,
    Raised,
    Step,
    StepResult,
)
from normgauge.adapters.debug import Tracebacks
from normgauge.adapters.dtypes import FULL
from normgauge.adapters.kept import GRADIENT, OUTPUT, Kept, changed, loaded, same, state_of
from normgauge.adapters.lacks import Lack
from normgauge.adapters.memory import RESULTS, buffer_of, sharing
from normgauge.adapters.memory_layouts import laid_out
from normgauge.adapters.unfinished import UNFINISHED, unfinished
from normgauge.adapters.writing import Writing

#: Those that no call changes.
_UNCHANGED: Final = ("weight", "bias")
#: Results of shape (C,); all others have the shape of the input.
OF_PARAMETERS: Final = ("dweight", "dbias", "second_weight")
#: Terminal colours that some frameworks put into messages.
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
#: Where an object lies in memory, which some messages tell and which is another place in every run.
_ADDRESS: Final = re.compile(r"\bat 0x[0-9a-f]+")


class Adapter(Acting, ABC):
    """The translation between the canonical form and one framework's layout and names.

    It renames and permutes. Values pass unchanged, momentum included; it never casts, clamps or repairs.
    The framework is imported in ``__init__``, after :meth:`environment` has been applied.
    """

    framework: ClassVar[str]
    distribution: ClassVar[str]
    implementations: ClassVar[tuple[Implementation, ...]]
    #: The framework's own ``instance_norm`` and ``layer_norm`` (so their ``layer``): not judged, but held beside a
    #: GroupNorm with a group a channel and with one group. They take the same cases.
    kin: ClassVar[tuple[Implementation, ...]] = ()
    #: Whether the framework compiles for every new shape, which is slow: exploration then keeps to a few.
    compiles: ClassVar[bool] = False
    #: Whether a call costs milliseconds however small the input is: exploration then asks fewer.
    slow: ClassVar[bool] = False
    #: Whether a call costs little beside what drawing its input does: exploration then asks several times as many.
    cheap: ClassVar[bool] = False
    #: Whether adapters of several dtypes may work in one process, as far as :meth:`environment` gives them the same:
    #: then what is observed of one dtype does not depend on what was run before at another.
    dtypes_together: ClassVar[bool] = False

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        """Environment variables that must be set before the framework is imported."""
        return {}

    @classmethod
    def caching(cls) -> Mapping[str, str]:
        """The same for those that make the framework faster and change no result: no user needs them in a script."""
        return {}

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        """The dtypes that the framework has, out of :data:`~normgauge.adapters.dtypes.DTYPES`."""
        return FULL

    def device(self) -> str:
        """The name of the device that the framework computes on."""
        return "cpu"

    def versions(self) -> dict[str, str]:
        """The release of each distribution that decides the results."""
        try:
            return {self.distribution: importlib.metadata.version(self.distribution)}
        except importlib.metadata.PackageNotFoundError:  # a module that nobody installed has no version
            return {self.distribution: "unknown version"}

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        """What the layer does not have. A case that needs it is not run; any other exception is judged ``raises``."""
        return ()

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        """How code for an implementation is written; None where the adapter does not say, and then has no recipes."""
        return None

    def missing(self, implementation: Implementation) -> str | None:
        """What an implementation needs that is not here, such as a compiler, in one sentence."""
        return None

    @abstractmethod
    def layer_class(self, implementation: Implementation) -> Any:
        """The class a user constructs."""

    @abstractmethod
    def construct(self, implementation: Implementation, case: Case) -> Any:
        """The layer with the case's settings and parameters."""

    @abstractmethod
    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        """The layer's native output on a native input."""

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        """The native output on ``x``, and the native gradients of sum(y * dy): ``dx``, ``dweight``, ``dbias``."""
        raise NotImplementedError

    def derivatives(self, implementation: Implementation) -> tuple[str, ...]:
        """Which of :data:`~normgauge.adapters.case.DERIVATIVES` it takes; a case with another one is not asked."""
        return ()

    def derived(self, layer: Any, x: Any, dy: Any, derivative: str, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        """The native output on ``x``, and the native arrays that the ``derivative`` asks for."""
        raise NotImplementedError

    @abstractmethod
    def state(self, layer: Any) -> Mapping[str, Any]:
        """Native running statistics and parameters by canonical name, as far as the layer has them."""

    @abstractmethod
    def to_native(self, implementation: Implementation, x: Array) -> Any:
        """A canonical input in the framework's type and layout."""

    def upstream_to_native(self, implementation: Implementation, dy: Array) -> Any:
        """The same for a gradient of the output, where that need not lie in memory as an input does."""
        return self.to_native(implementation, dy)

    @abstractmethod
    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        """The inverse of :meth:`to_native`, for outputs."""

    def vector(self, value: Any) -> Array:
        """A native parameter of shape (C,) as NumPy."""
        return np.asarray(value)

    def elements(self, value: Any) -> Array | None:
        """A native array as one of NumPy's at the same place, written to by who writes to it, and as little where
        that is not allowed; None where nobody can write to any array of the framework."""
        return None

    def memory(self, value: Any) -> Array | None:
        """The bytes of the whole buffer that a native array lies in; None as for :meth:`elements`."""
        elements = self.elements(value)
        return None if elements is None else buffer_of(elements)

    def native_dtype(self, value: Any) -> str:
        """The name of a native array's dtype."""
        return str(value.dtype).rpartition(".")[2]

    def describe(self, implementation: Implementation) -> dict[str, Any]:
        """Facts for the report: layout, names, and the defaults in the signature."""
        parameters = inspect.signature(self.layer_class(implementation).__init__).parameters
        defaults = {
            canonical: _plain(parameters[native].default)
            for canonical, native in implementation.names.items()
            if native in parameters and parameters[native].default is not inspect.Parameter.empty
        }
        return {
            "id": implementation.id,
            "layer": implementation.layer,
            "layout": implementation.layout,
            "names": dict(implementation.names),
            "documentation": implementation.documentation,
            "ranks": list(implementation.ranks),
            "remedies": dict(implementation.remedies),
            "signature_defaults": defaults,
            "documentation_texts": self.documentation_texts(implementation),
            "mode": implementation.mode,
            "compiles": self.compiles or implementation.way.compiles,
            "slow": self.slow,
            "cheap": self.cheap,
            "thorough": implementation.way.thorough,
            "dtypes": list(implementation.made_for or self.dtypes()),
            "missing": self.missing(implementation),
            "promotes": implementation.way.promotes,
            "equal_samples": implementation.way.equal_samples,
            "lacks": self.declared(implementation),
            "derivatives": list(self.derivatives(implementation)),
        }

    def declared(self, implementation: Implementation) -> list[dict[str, Any]]:
        """What the layer lacks, as a hello carries it: the conditions that there are."""
        return [
            {name: value for name, value in dataclasses.asdict(one).items() if value or name in {"why", "source"}}
            for one in self.lacks(implementation)
        ]

    def documentation_texts(self, implementation: Implementation) -> dict[str, str]:
        """The layer's installed docstrings by place: those of the class and of its constructor and call.

        Base classes count as far as they are in the same module: what comes from further away is written
        about every layer, not about this one.
        """
        layer_class = self.layer_class(implementation)
        classes = getattr(layer_class, "__mro__", (layer_class,))
        family = [one for one in classes if one.__module__ == layer_class.__module__]
        public = implementation.class_path
        found = {f"docstring of {public}": _docstring(one.__doc__ for one in family)}
        for method in ("__init__", "__call__", "call", "forward"):
            written = _docstring(getattr(vars(one).get(method), "__doc__", None) for one in family)
            found[f"docstring of {public}.{method}"] = written
        return {place: text for place, text in found.items() if text}

    @functools.cached_property
    def _by_id(self) -> Mapping[str, Implementation]:
        return {known.id: known for known in (*self.kin, *self.implementations)}

    @functools.cached_property
    def _tracebacks(self) -> Tracebacks:
        return Tracebacks()

    def implementation(self, identifier: str) -> Implementation:
        """The implementation with this id.

        Raises:
            ValueError: the adapter has none.
        """
        if identifier in self._by_id:
            return self._by_id[identifier]
        allowed = ", ".join(known.id for known in self.implementations)
        raise ValueError(f"{self.framework} has no implementation {identifier!r}; it has {allowed}")

    def run(self, identifier: str, case: Case) -> Observation:
        """Construct the layer, take the case's steps, and note everything that happened."""
        implementation = self.implementation(identifier)
        given, case = case, case.with_parameters(lambda name, value: value.copy())
        kept = loaded(case, given)
        steps: list[StepResult] = []
        raised: Raised | None = None
        where = "construct"
        caught: list[warnings.WarningMessage] = []
        results: list[Kept] = []
        try:
            with noted(caught):
                layer = self.construct(implementation, case)
            for number, step in enumerate(case.steps, start=1):
                where = f"step {number}"
                kept += results
                for action in step.before:
                    if action.name == "save_load":
                        kept += state_of(functools.partial(self.state, layer), self.vector)
                    with noted(caught):
                        if action.name == "another_layer":
                            self._beside(implementation, bare(case), step)
                        else:
                            layer = self.acted(implementation, case, layer, action)
                result, results = self._step(implementation, layer, step, caught)
                steps.append(result)
        # Whatever a framework raises is an observation, not an error of ours.
        except Exception as error:
            self._tracebacks.show(identifier, case.dtype, where, error)
            own = unfinished(self, error)
            message = _ADDRESS.sub("at 0x...", _ESCAPES.sub("", own or str(error)))
            raised = Raised(where=where, type=UNFINISHED if own else type(error).__name__, message=message[:2000])
        if steps:
            modified = (*steps[-1].modified, *changed(kept))
            steps[-1] = dataclasses.replace(steps[-1], modified=modified) if modified else steps[-1]
        messages = tuple(dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in caught))
        return Observation(steps=tuple(steps), raised=raised, warnings=messages)

    def _beside(self, implementation: Implementation, case: Case, step: Step) -> None:
        """Construct another layer and train it on the negative of the step's input."""
        another = self.construct(implementation, case)
        self.forward(another, self.to_native(implementation, -step.x), training=True)

    def _step(
        self, implementation: Implementation, layer: Any, step: Step, caught: list[warnings.WarningMessage]
    ) -> tuple[StepResult, list[Kept]]:
        """What the step gave, and what no later one may change of that."""
        before = {n: self.vector(value).copy() for n, value in self.state(layer).items() if n in _UNCHANGED}
        x = self._given(implementation, "x", step.x, step.layout)
        dy = None if step.dy is None else self._given(implementation, "dy", step.dy, step.dy_layout)
        training = step.mode == "train"
        gradients: Mapping[str, Any] = {}
        with noted(caught):
            if dy is None:
                output = self.forward(layer, x.native, training=training)
            elif step.derivative:
                output, gradients = self.derived(layer, x.native, dy.native, step.derivative, training=training)
            else:
                output, gradients = self.backward(layer, x.native, dy.native, training=training)
        inside = self.state(layer)
        after = {name: self.vector(value) for name, value in inside.items()}
        modified = [*x.modified(), *(dy.modified() if dy is not None else ())]
        modified += [n for n in _UNCHANGED if n in before and not same(before[n], after[n])]
        state = {n: value.copy() for n, value in after.items() if step.inspect or n.startswith("running_")}
        dtypes = {n: self.native_dtype(value) for n, value in inside.items() if n in state}
        dtypes |= {n: self.native_dtype(value) for n, value in gradients.items()}
        given = {"x": x.native} if dy is None else {"x": x.native, "dy": dy.native}
        arrays = self._places({**given, **inside, "output": output, **gradients})
        results = [self._result(implementation, "output", output)]
        results += [self._result(implementation, name, value) for name, value in gradients.items()]
        found = StepResult(
            output=results[0].value,
            dtype=self.native_dtype(output),
            state=state,
            modified=tuple(modified),
            shares=tuple(sharing(arrays)),
            read_only=tuple(n for n in RESULTS if n in arrays and not arrays[n].flags.writeable),
            gradients=dict(zip(gradients, (one.value for one in results[1:]), strict=True)),
            dtypes=dtypes,
            trainable=tuple(self.trainable(layer)) if step.inspect else None,
        )
        return found, results

    def _places(self, natives: Mapping[str, Any]) -> dict[str, Array]:
        """The elements of those arrays that have any and can be written to in this framework."""
        found = {name: self.elements(value) for name, value in natives.items()}
        return {name: value for name, value in found.items() if value is not None and value.size}

    def _given(self, implementation: Implementation, name: str, value: Array, layout: str) -> _Given:
        """An input of a call as it lies in memory before."""
        to_native = self.to_native if name == "x" else self.upstream_to_native
        native = to_native(implementation, laid_out(value, layout))
        read = functools.partial(self.to_numpy, implementation, native)
        buffer = self.memory(native)
        untouched = None if buffer is None else buffer.tobytes()
        return _Given(name=name, value=value, native=native, read=read, buffer=buffer, untouched=untouched)

    def _result(self, implementation: Implementation, name: str, value: Any) -> Kept:
        """A result of a call: an output, or the gradient of this name."""

        def read() -> Array:
            return self.vector(value) if name in OF_PARAMETERS else self.to_numpy(implementation, value)

        return Kept(name=OUTPUT if name == "output" else GRADIENT, value=np.array(read()), read=read)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """An array that a call is given: in the framework's type, and as it lay in memory before."""

    name: str
    value: Array
    native: Any
    read: Callable[[], Array]
    buffer: Array | None
    untouched: bytes | None

    def modified(self) -> list[str]:
        """What a call has changed of it: all, nothing, or the rest of the buffer that it lies in."""
        if not same(self.read(), self.value):
            return [self.name]
        beside = self.buffer is not None and self.buffer.tobytes() != self.untouched
        return [f"memory beside {self.name}"] if beside else []


def _docstring(texts: Iterable[str | None]) -> str:
    """The nearest class's text, its indentation made even."""
    return next((inspect.cleandoc(text) for text in texts if isinstance(text, str) and text.strip()), "")


def _plain(default: Any) -> Any:
    """A default as JSON can carry it."""
    known = default is None or isinstance(default, bool | int | str)
    return default if known or (isinstance(default, float) and math.isfinite(default)) else str(default)


class noted:
    """Append every warning of the block to ``caught``."""

    def __init__(self, caught: list[warnings.WarningMessage]) -> None:
        self._caught, self._catcher = caught, warnings.catch_warnings(record=True)

    def __enter__(self) -> None:
        self._fresh = self._catcher.__enter__()
        warnings.simplefilter("always")

    def __exit__(self, *_: object) -> None:
        self._catcher.__exit__(None, None, None)  # it only restores, whatever was raised
        self._caught.extend(self._fresh or ())


def where_it_runs() -> dict[str, str]:
    """The releases of Python and NumPy, and the platform."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
    }
