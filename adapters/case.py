"""The words that the engine and a framework share: a case, its steps, and what was observed on it. NumPy alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.mode import PLAIN, Mode

Array = NDArray[Any]

#: The settings that a case may have. For a setting that a case does not have, the layer uses its own default.
SETTINGS: Final = ("num_channels", "num_groups", "eps", "momentum", "weight", "bias", "track")
#: The names of parameters and running statistics.
PARAMETERS: Final = ("weight", "bias", "running_mean", "running_var")

#: ``reset``: the running statistics to those of a new layer. ``save_load``: the state written and read into a new
#: layer, constructed alike, which lives on. ``freeze``, ``unfreeze``: the parameters out of training, and back, by the
#: layer itself or by a model that it is in. ``momentum``: another momentum from now on. ``another_layer``: a new layer,
#: constructed alike, trained on the negative of the step's input, beside the one that lives on. ``set_parameters``:
#: other values of parameters and running statistics, as an optimizer or a loaded file brings them.
ACTIONS: Final = (
    "reset", "save_load", "freeze", "unfreeze", "freeze_model", "unfreeze_model", "momentum", "another_layer",
    "set_parameters",
)  # fmt: skip


@dataclass(frozen=True)
class Action:
    """One of :data:`ACTIONS`.

    ``momentum`` has the new momentum as its ``value``; ``set_parameters`` has arrays of shape (C,) in ``parameters``,
    by names of :data:`PARAMETERS`.
    """

    name: str
    value: float | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"momentum={self.value}" if self.name == "momentum" else self.name.replace("_", " ")


#: Derivatives of a call beyond its gradients. ``second``: of <dx, dy>, whose second dy is a constant, by x, dy and the
#: weight. ``forward``: of y along dy as a direction of x, and of that derivative along dy.
DERIVATIVES: Final = ("second", "forward")


@dataclass(frozen=True)
class Step:
    """One call of the living layer: ``train`` or ``eval`` on x of shape (N, C, *spatial).

    With ``dy``, of the shape of x, the call is differentiated, too: what is asked for are the gradients
    of sum(y * dy). ``before`` is what is done to the layer before the call. With ``inspect`` the parameters are
    asked for after it, and which of them are trainable. ``layout`` and ``dy_layout`` say how x and dy lie in memory
    (:data:`~normgauge.adapters.memory_layouts.LAYOUTS`); empty means in the order of the indices. With a
    ``derivative`` of :data:`DERIVATIVES` that is asked for in place of the gradients.
    """

    mode: str
    x: Array
    dy: Array | None = None
    before: tuple[Action, ...] = ()
    inspect: bool = False
    layout: str = ""
    dy_layout: str = ""
    derivative: str = ""


def derivatives_of(step: Step, names: Iterable[str]) -> tuple[str, ...]:
    """The names of what a step asks for beside the output, of a layer that has the parameters ``names``."""
    names = set(names)
    if step.dy is None:
        return ()
    if step.derivative == "forward":
        return "jvp", "jvp_of_jvp"
    if step.derivative == "second":
        return "second_x", "second_dy", *(("second_weight",) if "weight" in names else ())
    return "dx", *(f"d{name}" for name in ("weight", "bias") if name in names)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Canonical inputs, hyperparameters and steps: everything needed to run an implementation.

    ``settings`` uses the names of :data:`SETTINGS`; ``weight`` and ``bias`` there say whether the layer
    has them, ``track`` whether it tracks statistics. ``parameters`` maps names of :data:`PARAMETERS` to
    arrays of shape (C,) that replace the initial ones. Arrays of ``dtype`` bfloat16 are of float32. ``dtypes`` has, by
    the same names, the dtypes of those parameters that are to be of another than ``dtype``, as their arrays are.
    """

    layer: str
    dtype: str
    settings: Mapping[str, Any]
    parameters: Mapping[str, Array]
    steps: tuple[Step, ...]
    dtypes: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> bytes:
        """32 bytes (BLAKE2b) that differ for cases that differ in anything."""
        digest = hashlib.blake2b(digest_size=32)
        digest.update(
            repr((self.layer, self.dtype, sorted(self.settings.items()), sorted(self.dtypes.items()))).encode()
        )
        for name, value in sorted(self.parameters.items()):
            _add(digest, name, value)
        for step in self.steps:
            actions = [(action.name, action.value, len(action.parameters)) for action in step.before]
            digest.update(repr((step.mode, actions, step.inspect, step.layout, step.dy_layout)).encode())
            for action in step.before:
                for name, value in sorted(action.parameters.items()):
                    _add(digest, name, value)
            _add(digest, "x", step.x)
            if step.dy is not None:
                _add(digest, f"{step.derivative}dy", step.dy)
        return digest.digest()

    def parameter_arrays(self) -> Iterator[tuple[str, Array]]:
        """Every parameter with its name: those given to a new layer, and those set between calls."""
        yield from self.parameters.items()
        for step in self.steps:
            for action in step.before:
                yield from action.parameters.items()

    def with_parameters(self, change: Callable[[str, Array], Array]) -> Case:
        """The case with every one of them changed."""

        def changed(parameters: Mapping[str, Array]) -> dict[str, Array]:
            return {name: change(name, value) for name, value in parameters.items()}

        def acted(action: Action) -> Action:
            return replace(action, parameters=changed(action.parameters)) if action.parameters else action

        steps = (replace(step, before=tuple(map(acted, step.before))) for step in self.steps)
        return replace(self, parameters=changed(self.parameters), steps=tuple(steps))


def _add(digest: hashlib.blake2b, name: str, values: Array) -> None:
    digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)


@dataclass(frozen=True, kw_only=True)
class Raised:
    """An exception: where (``construct``, ``step 1``, ...), its type and its message."""

    where: str
    type: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Element:
    """An element of a result: the number of the step, the quantity, such as ``dx``, and the canonical index."""

    step: int
    quantity: str
    index: tuple[int, ...]

    def __str__(self) -> str:
        return f"step {self.step} {self.quantity}[{','.join(map(str, self.index))}]"


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step gave: the output in canonical layout, its native dtype, the state afterwards.

    ``modified`` names what the call changed and should not have: ``x``, ``dy``, ``weight``, ``bias``, or
    ``memory beside x`` (or ``dy``) where x itself is as it was but not the rest of the buffer that it lies in. The
    last step of a case also names what any of them changed that is older (``kept.py``). ``shares``
    names what has an element in one place in memory (``memory.py``): ``x``, ``dy``, a parameter, another result or
    ``itself`` where it is the output's, and such as ``dweight and dbias`` where it is another result's; ``read_only``
    names the results that cannot be written to in a framework whose arrays can. ``gradients`` has
    ``dx`` in canonical layout and, as far as the layer has the parameters, ``dweight`` and ``dbias``, of shape
    (C,); in place of these what the step's ``derivative`` asks for, ``second_x``, ``second_dy``, ``second_weight`` or
    ``jvp``, ``jvp_of_jvp``. ``dtypes`` are the native dtypes of the arrays in ``state`` and ``gradients``. If the step
    has ``inspect``, the state also has the weight and the bias, and ``trainable`` names the trainable parameters. Where
    memory was not ``watched``, nothing is known of what the call changed and of what shares memory.
    """

    output: Array
    dtype: str
    state: Mapping[str, Array]
    modified: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    gradients: Mapping[str, Array] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    trainable: tuple[str, ...] | None = None
    watched: bool = True

    @property
    def quantities(self) -> dict[str, Array]:
        """The arrays that are compared with a reference, by name.

        ``trainable`` is 1 for each of :data:`PARAMETERS` that is trained and 0 for the others.
        """
        found = {"output": self.output, **self.state, **self.gradients}
        return found if self.trainable is None else {**found, "trainable": marked(self.trainable)}


def marked(names: Iterable[str]) -> Array:
    """1 for each of :data:`PARAMETERS` that is among ``names``, 0 for the others."""
    among = set(names)
    return np.array([float(name in among) for name in PARAMETERS])


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What an implementation did on a case.

    Steps end at the first exception (``raised``). ``unsupported`` says why the case was not put to the layer: the
    adapter declares that it has no such thing (``lacks.py``). ``died`` tells how the process ended (signal, exit code,
    time-out) when it did; then nothing else is known. It is not ``asked`` where the process had ended too often.
    """

    steps: tuple[StepResult, ...] = ()
    raised: Raised | None = None
    unsupported: str | None = None
    died: str | None = None
    warnings: tuple[str, ...] = ()
    asked: bool = True


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One layer under test, as a user would construct it.

    ``names`` maps canonical names to the framework's; ``layout`` spells the input layout; ``options``
    are constructor arguments beyond the canonical settings; ``remedies`` maps ``axis=value`` to what a
    port should write instead, where the framework has its own switch. ``backend`` names that of a framework with
    several, ``way`` is the mode in which it is run. ``dtypes`` are those in which it is measured, where these are not
    those of its mode.
    """

    class_path: str
    layer: str
    layout: str
    names: Mapping[str, str]
    documentation: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ranks: tuple[int, ...] = (2, 3, 4, 5)
    remedies: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    way: Mode = PLAIN
    dtypes: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """The name of the way in which the layer is run; empty where it is called as it is."""
        return self.way.name

    @property
    def made_for(self) -> tuple[str, ...]:
        """The dtypes that it is made for; empty where these are all of the framework's."""
        return self.dtypes or self.way.dtypes

    @functools.cached_property
    def identity(self) -> ImplementationId:
        """The parts of its id."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return ImplementationId(class_path=self.class_path, options=options, backend=self.backend, mode=self.mode)

    @functools.cached_property
    def id(self) -> str:
        """Its id, as `normgauge list` prints it."""
        return str(self.identity)

    @property
    def class_name(self) -> str:
        """The last part of its class path."""
        return self.identity.class_name

    def named(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """``settings`` by the framework's names."""
        return {self.names[name]: value for name, value in settings.items()}
