"""What a user does with a layer, as data: an adapter runs it, and a script is written from the source of the same.

A framework's folder has plain functions that know the framework's public names and NumPy, nothing of ours. An
:class:`Operation` is a call of such a function; :class:`ScriptedAdapter` runs operations on the variables of a
script, which are what lives from call to call.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final

import numpy as np

from normgauge.adapters.actions import bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import PARAMETERS, Action, Array, Case, Implementation
from normgauge.adapters.functions import channels_last, evaluate, read, set_momentum, train
from normgauge.adapters.lacks import Lack
from normgauge.adapters.layout import CHANNELS_LAST


class Name(str):
    """A variable of the script, or a public name of the framework such as ``mx.float32``."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A call of ``function``: with the variables that it ``takes``, and with ``values`` by keyword.

    A value may be a :class:`Name` or the result of another operation. ``gives`` are the variables that are set.
    An operation that is done ``once`` for a layer is left out where its variables are set.
    """

    function: Callable[..., Any] | Name
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    values: Mapping[str, Any]
    once: bool = False

    def result(self, variables: Variables) -> Any:
        function, taken = self.function, [variables[name] for name in self.takes]
        if isinstance(function, Name):
            function = variables.value(function)
        if not self.values:
            return function(*taken)
        return function(*taken, **{name: variables.value(value) for name, value in self.values.items()})


@functools.cache
def _variables(function: Callable[..., Any] | Name, given: tuple[str, ...]) -> tuple[str, ...]:
    known = () if isinstance(function, Name) else inspect.signature(function).parameters.values()
    needed = [one for one in known if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    return tuple(one.name for one in needed if one.name not in given)


def do(function: Callable[..., Any] | Name, gives: str = "", /, **values: Any) -> Operation:
    """The operation that sets the variables ``gives``, separated by commas, to what ``function`` returns."""
    names = tuple(gives.split(", ")) if gives else ()
    return Operation(function=function, takes=_variables(function, tuple(values)), gives=names, values=values)


def once(function: Callable[..., Any] | Name, gives: str, /, **values: Any) -> Operation:
    """The same, done once as long as the layer lives."""
    return replace(do(function, gives, **values), once=True)


Steps = tuple[Operation, ...]


#: A layer into each mode, and its parameters and running statistics, where they are attributes of the same names.
SWITCH: Final[Mapping[str, Operation]] = {"train": do(train), "eval": do(evaluate)}
ATTRIBUTES: Final[Mapping[str, Operation]] = {name: do(read, name=name) for name in PARAMETERS}
#: The setting of a case that leaves out a parameter or running statistic.
_LEFT_OUT_BY: Final = {name: "track" if name.startswith("running_") else name for name in PARAMETERS}


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What a user does with one implementation.

    ``canonical`` and ``vector`` turn the variable ``value``, an output or a parameter, into a NumPy array, and
    ``gradient`` does so with a gradient that is neither.

    ``call`` sets ``y`` from ``x`` in each mode; ``gradients`` sets ``y`` and ``gradients``, by the names dx, dweight
    and dbias, from ``x`` and ``dy``. ``derivatives`` has, by the names of :data:`DERIVATIVES`, what sets ``y`` and
    ``gradients`` in each mode from ``x`` and ``dy``. ``read`` gives a parameter or running statistic. ``actions`` has
    those of :data:`ACTIONS` that there are; ``momentum`` takes a variable of this name, and between ``save`` and
    ``load``, which stand for save_load, a new layer is constructed. ``trainable`` gives canonical names.
    """

    canonical: Operation
    vector: Operation
    gradient: Operation | None = None
    call: Mapping[str, Steps]
    gradients: Mapping[str, Steps] = field(default_factory=dict)
    derivatives: Mapping[str, Mapping[str, Steps]] = field(default_factory=dict)
    read: Mapping[str, Operation] = field(default_factory=lambda: ATTRIBUTES)
    actions: Mapping[str, Steps] = field(default_factory=dict)
    trainable: Operation


def actions_of(functions: ModuleType) -> dict[str, Steps]:
    """Actions by the functions of these names that a framework's module has."""
    known = {"set_momentum": set_momentum, **vars(functions)}
    found: dict[str, Steps] = {name: (do(known[name]),) for name in ("reset", "freeze", "unfreeze") if name in known}
    found["momentum"] = (do(known["set_momentum"]),)
    if "save" in known:
        found |= {"save": (do(known["save"], "saved"),), "load": (do(known["load"]),)}
    if "model_of" in known:
        model = once(known["model_of"], "model")
        found |= {f"{name}_model": (model, do(known[name], layer=Name("model"))) for name in ("freeze", "unfreeze")}
    return found


class Variables(dict[str, Any]):
    """The variables of a running script. A name that is not among them is looked up in ``module``."""

    def __init__(self, module: ModuleType, operations: Operations, names: tuple[str, ...]) -> None:
        self.module, self.operations, self.names = module, operations, names

    def __missing__(self, name: str) -> Any:
        return getattr(self.module, name)

    def value(self, given: Any) -> Any:
        """What a name or an operation among the values stands for."""
        if isinstance(given, Operation):
            return given.result(self)
        if not isinstance(given, Name):
            return given
        head, *path = given.split(".")
        return functools.reduce(getattr, path, self[head])

    def perform(self, steps: Iterable[Operation]) -> None:
        for step in steps:
            if step.once and step.gives[0] in self:
                continue
            result = step.result(self)
            if step.gives:
                self.update(zip(step.gives, (result,) if len(step.gives) == 1 else result, strict=True))


_NO_STATE: Final = "the layer has nothing that writes and reads its state"
_NO_FREEZING: Final = "the layer has nothing that freezes it"
#: For each action: an operation that it needs, and the reason that is given where an adapter has no such operation.
_ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "reset": ("reset", "the layer has nothing that resets its running statistics"),
    "save_load": ("save", _NO_STATE),
    **{one: (one, _NO_FREEZING) for one in ("freeze", "unfreeze", "freeze_model", "unfreeze_model")},
}


def shown_state(implementation: Implementation, case: Case) -> tuple[str, ...]:
    """The names of the parameters and running statistics that the case's layer has."""
    return tuple(
        name
        for name, setting in _LEFT_OUT_BY.items()
        if name in implementation.names and case.settings.get(setting, True)
    )


class ScriptedAdapter(Adapter):
    """An adapter that is made of operations, so that a script can be written of what it runs.

    The ``layer`` that its methods pass on are the script's :class:`Variables`.
    """

    #: The module with the framework's functions, imported in ``__init__``, among them ``to_numpy`` and
    #: ``bfloat16_to_numpy``.
    module: ModuleType

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self._operations: dict[str, Operations] = {}

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    def layer_class(self, implementation: Implementation) -> Any:
        head, *path = implementation.class_path.split(".")
        return functools.reduce(getattr, path, importlib.import_module(head))

    def functions(self, implementation: Implementation) -> ModuleType:
        """The module in which names in operations are looked up."""
        return self.module

    def numpy_of_value(self) -> Operation:
        """What turns the variable ``value``, an array of the adapter's dtype, into one of NumPy's."""
        return do(self.module.bfloat16_to_numpy if self.dtype == "bfloat16" else self.module.to_numpy)

    @abstractmethod
    def construction(self, implementation: Implementation, case: Case) -> Iterable[Operation]:
        """What sets ``layer``, and whatever else lives from call to call."""

    @abstractmethod
    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        """What gives a parameter or running statistic of the layer that is then there the value ``value``."""

    @abstractmethod
    def operations(self, implementation: Implementation) -> Operations:
        """What is done with the layer that is then there."""

    @abstractmethod
    def native(self, implementation: Implementation, x: Array) -> Operation:
        """What turns the variable ``value``, which is ``x``, into the framework's type and layout."""

    def laid_out(self, implementation: Implementation, x: Array) -> Operation | Name:
        """The variable ``value``, which is ``x``, in the implementation's layout; only ``x`` with channels has one."""
        return do(channels_last) if implementation.layout == CHANNELS_LAST and x.ndim > 1 else Name("value")

    def native_upstream(self, implementation: Implementation, dy: Array) -> Operation:
        """The same for a gradient of the output, where that need not lie in memory as an input does."""
        return self.native(implementation, dy)

    def known_operations(self, implementation: Implementation) -> Operations:
        if implementation.id not in self._operations:
            self._operations[implementation.id] = self.operations(implementation)
        return self._operations[implementation.id]

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        """The actions and the gradients that its operations leave out."""
        known = self.known_operations(implementation)
        found: dict[str, list[str]] = {}
        for action, (needed, why) in _ACTIONS.items():
            if needed not in known.actions:
                found.setdefault(why, []).append(action)
        source = implementation.documentation
        lacks = [Lack(why=why, source=source, actions=tuple(actions)) for why, actions in found.items()]
        if not known.gradients:
            lacks.append(Lack(why="there is no automatic differentiation", source=source, gradients=True))
        return tuple(lacks)

    def construct(self, implementation: Implementation, case: Case) -> Variables:
        names = shown_state(implementation, case)
        variables = Variables(self.functions(implementation), self.known_operations(implementation), names)
        variables.perform(self.construction(implementation, case))
        return variables

    def forward(self, layer: Variables, x: Any, *, training: bool) -> Any:
        layer["x"] = x
        layer.perform(layer.operations.call["train" if training else "eval"])
        del layer["x"]
        return layer.pop("y")

    def backward(self, layer: Variables, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        mode = "train" if training else "eval"
        if mode not in layer.operations.gradients:
            return super().backward(layer, x, dy, training=training)
        layer.update(x=x, dy=dy)
        layer.perform(layer.operations.gradients[mode])
        del layer["x"], layer["dy"]
        return layer.pop("y"), layer.pop("gradients")

    def derivatives(self, implementation: Implementation) -> tuple[str, ...]:
        return tuple(self.known_operations(implementation).derivatives)

    def derived(
        self, layer: Variables, x: Any, dy: Any, derivative: str, *, training: bool
    ) -> tuple[Any, Mapping[str, Any]]:
        layer.update(x=x, dy=dy)
        layer.perform(layer.operations.derivatives[derivative]["train" if training else "eval"])
        del layer["x"], layer["dy"]
        return layer.pop("y"), layer.pop("gradients")

    def state(self, layer: Variables) -> Mapping[str, Any]:
        read = layer.operations.read
        return {name: value for name in layer.names if (value := read[name].result(layer)) is not None}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self._of_value(implementation, self.native(implementation, x), x)

    def upstream_to_native(self, implementation: Implementation, dy: Array) -> Any:
        return self._of_value(implementation, self.native_upstream(implementation, dy), dy)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        operations = self.known_operations(implementation)
        # What has no channel axis has no layout.
        chosen = operations.canonical if value.ndim > 1 else operations.vector
        return self._of_value(implementation, chosen, value)  # type: ignore[no-any-return]

    def _of_value(self, implementation: Implementation, operation: Operation, value: Any) -> Any:
        variables = Variables(self.functions(implementation), self.known_operations(implementation), ())
        variables["value"] = value
        return operation.result(variables)

    def vector(self, value: Any) -> Array:
        wide = self.native_dtype(value) == "bfloat16"
        return np.asarray(self.module.bfloat16_to_numpy(value) if wide else self.module.to_numpy(value))

    def acted(self, implementation: Implementation, case: Case, layer: Variables, action: Action) -> Variables:
        known = layer.operations.actions
        if action.name == "save_load" and "save" in known:
            layer.perform(known["save"])
            new = self.construct(implementation, bare(case))
            new["saved"] = layer.pop("saved")
            new.perform(known["load"])
            return new
        if action.name not in known:
            return super().acted(implementation, case, layer, action)  # type: ignore[no-any-return]
        layer["momentum"] = action.value
        layer.perform(known[action.name])
        return layer

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Variables, parameters: Mapping[str, Array]
    ) -> None:
        layer.perform(self.parameter(implementation, case, name, value) for name, value in parameters.items())

    def trainable(self, layer: Variables) -> Iterable[str]:
        return layer.operations.trainable.result(layer)  # type: ignore[no-any-return]
