"""The adapter of a plain function: renames and permutes, as that of a framework does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode

import numpy as np

from normgauge.adapters.base import Adapter
from normgauge.adapters.callables.libraries import Library, library_of, version_of
from normgauge.adapters.callables.signature import BadFunction, Signature, signature_of
from normgauge.adapters.case import Array, Case, Implementation, Observation
from normgauge.adapters.functions import channels_first, channels_last
from normgauge.adapters.lacks import PARTS, Lack, without
from normgauge.adapters.layout import CHANNELS_FIRST, CHANNELS_LAST
from normgauge.adapters.memory import buffer_of

LAYERS: Final = ("group_norm", "batch_norm")
LAYOUTS: Final = {"channels first": CHANNELS_FIRST, "channels last": CHANNELS_LAST}
_RUNNING: Final = ("running_mean", "running_var")
_ARRAYS: Final = ("weight", "bias", *_RUNNING)
#: What a function returns beside the output, unless it is said otherwise.
_RETURNS: Final = ("y", *_RUNNING)
#: Actions that need an object with a state; a function has none.
_OF_LAYERS: Final = (
    "reset", "save_load", "freeze", "unfreeze", "freeze_model", "unfreeze_model", "momentum", "inspect",
    "parameter_dtypes",
)  # fmt: skip
_START: Final = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
#: The words that the name of a function may be followed by, after a question mark.
_IN_A_NAME: Final = ("layer", "layout", "arrays")


@dataclass(frozen=True, kw_only=True)
class Words:
    """The few words on a function: each None where it is seen from the function itself.

    ``layer`` is one of :data:`LAYERS`, ``layout`` one of :data:`LAYOUTS`, ``arrays`` a library's name. ``names`` has
    the function's own parameter names by canonical ones, ``returns`` what a returned tuple has, in order: ``y`` and
    the running statistics. ``ranks`` are those of the inputs that it takes; without ``gradients`` none are checked.
    """

    layer: str | None = None
    layout: str = "channels first"
    arrays: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    returns: Sequence[str] = _RETURNS
    ranks: tuple[int, ...] = (2, 3, 4, 5)
    gradients: bool | None = None

    def __post_init__(self) -> None:
        if self.layer not in (None, *LAYERS):
            raise BadFunction(f"layer is {self.layer!r}; allowed: {', '.join(LAYERS)}")
        if self.layout not in LAYOUTS:
            raise BadFunction(f"layout is {self.layout!r}; allowed: {' or '.join(LAYOUTS)}")
        unknown = [one for one in self.returns if one not in _RETURNS]
        if unknown or "y" not in self.returns:
            raise BadFunction(f"returns is {tuple(self.returns)!r}; allowed: y, and {' and '.join(_RUNNING)}")
        if not self.ranks or not {*self.ranks} <= {2, 3, 4, 5}:
            raise BadFunction(f"ranks is {self.ranks!r}; allowed: numbers from 2 to 5, the dimensions of x")


def with_words(path: str, words: Mapping[str, str]) -> str:
    """``module:function`` with words on the function, as a framework's name carries them to a worker."""
    return f"{path}?{urlencode(words)}" if words else path


def words_in(name: str) -> tuple[str, Words]:
    """The path and the words of such a name.

    Raises:
        BadFunction: a word that is not known.
    """
    path, _, query = name.partition("?")
    found = dict(parse_qsl(query))
    unknown = [word for word in found if word not in _IN_A_NAME]
    if unknown:
        raise BadFunction(f"{name!r} has the word {unknown[0]!r}; allowed: {', '.join(_IN_A_NAME)}")
    layout = found.get("layout", "channels first").replace("_", " ")
    return path, Words(layer=found.get("layer"), layout=layout, arrays=found.get("arrays"))


@dataclass(kw_only=True)
class _Bound:
    """A function with its settings and arrays: what takes the place of a layer."""

    settings: dict[str, Any]
    arrays: dict[str, Any]


class CallableAdapter(Adapter):
    """An adapter of one function; :func:`adapter_of` makes its subclasses."""

    signature: ClassVar[Signature]
    library: ClassVar[Library]
    words: ClassVar[Words]
    dtypes_together = True

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return cls.library.dtypes

    def versions(self) -> dict[str, str]:
        return version_of(self.library)

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        takes, where = self.signature.takes, implementation.documentation
        found = [Lack(why="a function has no such action of a layer", source=where, actions=_OF_LAYERS)]
        found += _lacks_of_arrays(self.signature, where)
        if takes("running_mean") and not self.signature.may_be_none("running_mean"):
            found += without("the function always takes running statistics", where, {"track": False})
        if not self._differentiates:
            why = f"arrays of {self.library.name} have no gradients here"
            found.append(Lack(why=why, source=where, gradients=True))
        if not takes("eps"):
            found.append(Lack(why="the function takes no eps", source=where, given=("eps",)))
        elif self.signature.needs("eps"):
            found.append(Lack(why="the function has no default of eps", source=where, left_out=("eps",)))
        why = "a function is not told a number of channels"
        found.append(Lack(why=why, source=where, shapes=("other channels",)))
        return (*found, *(_lacks_of_batch_norm(self.signature, where) if implementation.layer == "batch_norm" else ()))

    @property
    def _differentiates(self) -> bool:
        return self.library.differentiates if self.words.gradients is None else self.words.gradients

    def describe(self, implementation: Implementation) -> dict[str, Any]:
        defaults = {
            name: value
            for name, value in self.signature.defaults().items()
            if isinstance(value, bool | int | float | str) and name in implementation.names
        }
        return {**super().describe(implementation), "signature_defaults": defaults}

    def documentation_texts(self, implementation: Implementation) -> dict[str, str]:
        text = inspect.getdoc(self.signature.function)
        return {f"docstring of {implementation.class_path}": text} if text else {}

    def layer_class(self, implementation: Implementation) -> Any:
        return _Bound

    def run(self, identifier: str, case: Case) -> Observation:
        with self.library.scope(case.dtype):
            return super().run(identifier, case)

    def construct(self, implementation: Implementation, case: Case) -> _Bound:
        settings = {name: value for name, value in case.settings.items() if name in {"num_groups", "eps", "momentum"}}
        has = {name: case.settings.get(name, True) for name in ("weight", "bias")}
        has |= dict.fromkeys(_RUNNING, implementation.layer == "batch_norm" and case.settings.get("track", True))
        arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
        for name in _ARRAYS:
            if has[name] and self.signature.takes(name):
                start = np.full(case.settings["num_channels"], _START[name], self._carrier)
                value = np.array(case.parameters.get(name, start))  # a function may change running statistics in place
                arrays[name] = self.library.native(value, self.dtype)
        return _Bound(settings=settings, arrays=arrays)

    @property
    def _carrier(self) -> str:
        return "float32" if self.dtype == "bfloat16" else self.dtype

    def forward(self, layer: _Bound, x: Any, *, training: bool) -> Any:
        y, others = self._called(layer, x, layer.arrays, training=training)
        layer.arrays |= others
        return y

    def backward(self, layer: _Bound, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        names = [name for name in ("weight", "bias") if layer.arrays[name] is not None]

        def forward(x: Any, *values: Any) -> tuple[Any, Any]:
            return self._called(layer, x, {**layer.arrays, **dict(zip(names, values, strict=True))}, training=training)

        y, others, found = self.library.gradient(forward, (x, *(layer.arrays[name] for name in names)), dy)
        layer.arrays |= others
        return y, dict(zip(("dx", *(f"d{name}" for name in names)), found, strict=True))

    def _called(
        self, layer: _Bound, x: Any, arrays: Mapping[str, Any], *, training: bool
    ) -> tuple[Any, dict[str, Any]]:
        """The output, and the running statistics that the function returns."""
        found = self.signature.call(x, {**layer.settings, **arrays, "training": training})
        if not isinstance(found, tuple | list):
            return found, {}
        if len(found) > len(self.words.returns):
            raise TypeError(
                f"the function returns {len(found)} values; expected {', '.join(self.words.returns)}; give returns="
            )
        named = dict(zip(self.words.returns, found, strict=False))
        tracked: dict[str, Any] = {name: named[name] for name in _RUNNING if name in named and arrays[name] is not None}
        return named["y"], tracked

    def state(self, layer: _Bound) -> Mapping[str, Any]:
        return {name: value for name, value in layer.arrays.items() if value is not None}

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: _Bound, parameters: Mapping[str, Array]
    ) -> None:
        layer.arrays |= {name: self.library.native(value, self.dtype) for name, value in parameters.items()}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        last = implementation.layout == CHANNELS_LAST and x.ndim > 2
        return self.library.native(channels_last(x) if last else x, self.dtype)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        found = self.library.numpy(value, self.dtype)
        return channels_first(found) if implementation.layout == CHANNELS_LAST and found.ndim > 2 else found

    def vector(self, value: Any) -> Array:
        return self.library.numpy(value, self.dtype)

    def elements(self, value: Any) -> Array | None:
        return self.library.elements(value)

    def memory(self, value: Any) -> Array | None:
        elements = self.library.elements(value)
        return self.library.memory(value) if elements is None or self.library.name == "torch" else buffer_of(elements)


def _lacks_of_arrays(signature: Signature, where: str) -> tuple[Lack, ...]:
    """The combinations of weight and bias that the function does not take."""
    found: tuple[Lack, ...] = ()
    for name, own in zip(("weight", "bias"), PARTS, strict=True):
        if not signature.takes(name):
            found += without(f"the function takes no {name}", where, own)
        elif not signature.may_be_none(name):
            found += without(f"the function always takes a {name}", where, {name: False})
    return found


def _lacks_of_batch_norm(signature: Signature, where: str) -> tuple[Lack, ...]:
    takes = signature.takes
    found = [Lack(why="momentum=None is an option of layers", source=where, settings={"momentum": None})]
    if not takes("momentum"):
        found.append(Lack(why="the function takes no momentum", source=where, given=("momentum",)))
    elif signature.needs("momentum"):
        found.append(Lack(why="the function has no default of momentum", source=where, left_out=("momentum",)))
    if not takes("training"):
        mode, other = ("train", "training") if takes("running_mean") and not takes("momentum") else ("eval", "eval")
        found.append(Lack(why=f"the function has no {other}", source=where, modes=(mode,)))
    if not takes("running_mean"):
        found += without("the function takes no running statistics", where, {"track": True})
    return tuple(found)


def adapter_of(function: Callable[..., Any], words: Words, path: str | None = None) -> type[CallableAdapter]:
    """An adapter whose one implementation is ``function``.

    Raises:
        BadFunction: a ``ValueError``, where the function or a word on it makes no sense.
    """
    signature = signature_of(function, words.names)
    layer = words.layer or _layer_of(signature)
    if layer == "group_norm" and not signature.takes("num_groups"):
        raise BadFunction(
            f"{name_of(function)} takes no number of groups; wrap it as a function of x and num_groups, or name the "
            "parameter with names={'num_groups': ...}"
        )
    library = library_of(function, words.arrays)
    own = path or name_of(function)
    implementation = Implementation(
        class_path=own.replace(":", "."),
        layer=layer,
        layout=LAYOUTS[words.layout],
        names=signature.names,
        documentation=own,
        ranks=words.ranks,
    )
    about = {
        "framework": implementation.class_name,
        "distribution": library.distribution,
        "implementations": (implementation,),
        "signature": signature,
        "library": library,
        "compiles": library.compiles,
        "cheap": not library.compiles,
        "words": words,
        "__doc__": f"The adapter of {own}.",
        "__module__": __name__,
    }
    return type(f"Adapter of {own}", (CallableAdapter,), about)


def name_of(function: Callable[..., Any]) -> str:
    """``module:function``, as far as the function has such names."""
    inner = function
    while hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    words = named.__qualname__.replace("<locals>.", "").replace("<lambda>", "lambda")
    return f"{named.__module__}:{words}"


def _layer_of(signature: Signature) -> str:
    if signature.takes("num_groups"):
        return "group_norm"
    if any(signature.takes(name) for name in ("running_mean", "momentum", "training")):
        return "batch_norm"
    raise BadFunction(
        f"{name_of(signature.function)} takes neither a number of groups nor running statistics; give layer= "
        f"{' or '.join(LAYERS)}"
    )
