"""Calls of a Keras layer on each backend, plain, compiled and differentiated, beside the text that a user writes.

Keras has no gradients of its own: a user takes the backend's. ``arguments`` are those of the layer's call beside
its input, and ``call`` in the texts is the whole call on ``given``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from normgauge.adapters.case import Unsupported

Gradients = tuple[Any, Mapping[str, Any]]
#: The canonical gradient of each of Keras' variables.
_GRADIENT = {"gamma": "dweight", "beta": "dbias"}


class Backend:
    """A backend without automatic differentiation and without a compiler, such as NumPy's."""

    #: The modes in which the backend compiles the layer.
    compilers: ClassVar[tuple[str, ...]] = ()
    imports: ClassVar[tuple[str, ...]] = ()
    #: Whether the backend compiles every operation for every new shape.
    compiles: ClassVar[bool] = False

    def call(self, layer: Any, x: Any, mode: str, arguments: Mapping[str, Any]) -> Any:
        return layer(x, **arguments)

    def gradients(self, layer: Any, x: Any, dy: Any, mode: str, arguments: Mapping[str, Any]) -> Gradients:
        """The output, and the gradients of sum(y * dy) as the adapter's ``backward`` names them."""
        raise Unsupported("this backend has no automatic differentiation")

    def call_text(self, mode: str, call: str) -> tuple[str, ...]:
        """Lines that set ``y`` to the layer's native output on ``given``."""
        return (f"y = {call}",)

    def gradients_text(self, mode: str, call: str) -> tuple[str, ...]:
        """Lines that set ``y``, ``dx`` and, by variable, ``own`` from ``given`` and ``dy``."""
        return ()

    def gradient_text(self, native: str) -> str:
        return f"own[{native!r}]"


class Jax(Backend):
    """``jax.value_and_grad`` of ``stateless_call``, after which the variables get their new values."""

    compilers = ("jit",)
    compiles = True
    imports = ("import jax",)

    def call(self, layer: Any, x: Any, mode: str, arguments: Mapping[str, Any]) -> Any:
        if mode != "jit":
            return layer(x, **arguments)
        compiled = importlib.import_module("jax").jit(layer.stateless_call, static_argnames="training")
        y, changed = compiled(*_variables(layer), x, **arguments)
        _update(layer, changed)
        return y

    def gradients(self, layer: Any, x: Any, dy: Any, mode: str, arguments: Mapping[str, Any]) -> Gradients:
        jax = importlib.import_module("jax")

        def loss(trainable: Any, x: Any, others: Any, dy: Any) -> tuple[Any, tuple[Any, Any]]:
            y, changed = layer.stateless_call(trainable, others, x, **arguments)
            return (y * dy).sum(), (y, changed)

        differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        trainable, others = _variables(layer)
        compiled = jax.jit(differentiate) if mode == "jit" else differentiate
        (_, (y, changed)), (own, dx) = compiled(trainable, x, others, dy)
        _update(layer, changed)
        return y, {"dx": dx, **_named(layer, own)}

    def call_text(self, mode: str, call: str) -> tuple[str, ...]:
        if mode != "jit":
            return (f"y = {call}",)
        return (
            *_VARIABLES_TEXT,
            "compiled = jax.jit(layer.stateless_call, static_argnames='training')",
            f"y, changed = {call.replace('layer(', 'compiled(trainable, others, ')}",
            *_UPDATE_TEXT,
        )

    def gradients_text(self, mode: str, call: str) -> tuple[str, ...]:
        differentiate = "jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)"
        return (
            *_VARIABLES_TEXT,
            "def loss(trainable, given, others, dy):",
            f"    y, changed = {call.replace('layer(', 'layer.stateless_call(trainable, others, ')}",
            "    return (y * dy).sum(), (y, changed)",
            f"differentiate = {f'jax.jit({differentiate})' if mode == 'jit' else differentiate}",
            "(_, (y, changed)), (own, dx) = differentiate(trainable, given, others, dy)",
            *_UPDATE_TEXT,
            "own = {variable.name: one for variable, one in zip(layer.trainable_variables, own)}",
        )


_VARIABLES_TEXT = (
    "trainable = [variable.value for variable in layer.trainable_variables]",
    "others = [variable.value for variable in layer.non_trainable_variables]",
)
_UPDATE_TEXT = (
    "for variable, value in zip(layer.non_trainable_variables, changed):",
    "    variable.assign(value)",
)


def _variables(layer: Any) -> tuple[list[Any], list[Any]]:
    return [v.value for v in layer.trainable_variables], [v.value for v in layer.non_trainable_variables]


def _update(layer: Any, changed: Any) -> None:
    for variable, value in zip(layer.non_trainable_variables, changed, strict=True):
        variable.assign(value)


def _named(layer: Any, gradients: Any) -> dict[str, Any]:
    """Gradients by canonical name, of the variables that the layer trains, in their order."""
    return {_GRADIENT[v.name]: one for v, one in zip(layer.trainable_variables, gradients, strict=True)}


class Torch(Backend):
    """Torch's own tape. ``torch.compile`` is no mode here: it takes half a minute for a layer of Keras."""

    imports = ("import torch",)

    def gradients(self, layer: Any, x: Any, dy: Any, mode: str, arguments: Mapping[str, Any]) -> Gradients:
        y = layer(x.requires_grad_(), **arguments)
        wanted = [x, *(variable.value for variable in layer.trainable_variables)]
        dx, *own = importlib.import_module("torch").autograd.grad((y * dy).sum(), wanted)
        return y.detach(), {"dx": dx, **_named(layer, own)}

    def gradients_text(self, mode: str, call: str) -> tuple[str, ...]:
        return (
            "given.requires_grad_()",
            f"y = {call}",
            "variables = [variable.value for variable in layer.trainable_variables]",
            "dx, *own = torch.autograd.grad((y * dy).sum(), [given, *variables])",
            "own = {variable.name: one for variable, one in zip(layer.trainable_variables, own)}",
        )


class Tensorflow(Backend):
    compilers = ("function", "jit_compile")
    imports = ("import tensorflow as tf",)

    def _compiled(self, function: Callable[..., Any], mode: str) -> Callable[..., Any]:
        if mode not in self.compilers:
            return function
        compiled = importlib.import_module("tensorflow").function(function, jit_compile=mode == "jit_compile")
        return compiled  # type: ignore[no-any-return]

    def call(self, layer: Any, x: Any, mode: str, arguments: Mapping[str, Any]) -> Any:
        return self._compiled(lambda given: layer(given, **arguments), mode)(x)

    def gradients(self, layer: Any, x: Any, dy: Any, mode: str, arguments: Mapping[str, Any]) -> Gradients:
        tf = importlib.import_module("tensorflow")
        variables = [variable.value for variable in layer.trainable_variables]

        def differentiate(given: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(given)
                y = layer(given, **arguments)
                loss = tf.reduce_sum(y * dy)
            return y, tape.gradient(loss, [given, *variables])

        y, (dx, *own) = self._compiled(differentiate, mode)(x, dy)
        return y, {"dx": dx, **_named(layer, own)}

    def _compiled_text(self, function: str, mode: str) -> str:
        flag = ", jit_compile=True" if mode == "jit_compile" else ""
        return f"tf.function({function}{flag})" if mode in self.compilers else function

    def call_text(self, mode: str, call: str) -> tuple[str, ...]:
        if mode not in self.compilers:
            return (f"y = {call}",)
        return (f"y = {self._compiled_text(f'lambda given: {call}', mode)}(given)",)

    def gradients_text(self, mode: str, call: str) -> tuple[str, ...]:
        return (
            "variables = [variable.value for variable in layer.trainable_variables]",
            "def differentiate(given, dy):",
            "    with tf.GradientTape() as tape:",
            "        tape.watch(given)",
            f"        y = {call}",
            "        loss = tf.reduce_sum(y * dy)",
            "    return y, tape.gradient(loss, [given, *variables])",
            f"y, (dx, *own) = {self._compiled_text('differentiate', mode)}(given, dy)",
            "own = {variable.name: one for variable, one in zip(layer.trainable_variables, own)}",
        )
