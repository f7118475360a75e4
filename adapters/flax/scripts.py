"""The calls of ``calls.py`` as a user writes them: text for a divergence's script."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.layout import CHANNELS_LAST, from_layout_text, to_layout_text

#: The name under which ``vmap`` maps over the samples.
AXIS_NAME: Final = "batch"
#: The ways of calling a layer.
WAYS: Final = ("eager", "jit", "vmap", "mask")
_MASK: Final = "mask=jnp.ones(x.shape, bool)"
_Y: Final = f"y = {from_layout_text('np.asarray(y)', CHANNELS_LAST)}"
_DX: Final = f"dx = {from_layout_text('np.asarray(dx)', CHANNELS_LAST)}"


def _given(name: str, dtype: str) -> str:
    """The line that gives an input its layout and type."""
    cast = ", jnp.bfloat16" if dtype == "bfloat16" else ""
    return f"{name} = jnp.asarray({to_layout_text(name, CHANNELS_LAST)}{cast})"


class NnxTexts:
    """Text about an nnx ``layer`` that is called in one of :data:`WAYS`."""

    def __init__(self, way: str, is_batch: bool, dtype: str) -> None:
        self.way, self.is_batch, self.dtype = way, is_batch, dtype

    def _call(self) -> str:
        if self.way == "vmap":
            mapped = f"nnx.vmap(lambda layer, x: layer(x), in_axes=(None, 0), axis_name={AXIS_NAME!r})"
            return f"{mapped}(layer, x[:, None])[:, 0]"
        return f"layer(x, {_MASK})" if self.way == "mask" else "layer(x)"

    def _switch(self, mode: str) -> tuple[str, ...]:
        return (f"layer.{mode}()",) if self.is_batch else ()

    def call(self, mode: str) -> tuple[str, ...]:
        call = "nnx.jit(lambda layer, x: layer(x))(layer, x)" if self.way == "jit" else self._call()
        return (*self._switch(mode), _given("x", self.dtype), f"y = {call}", _Y)

    def backward(self, mode: str) -> tuple[str, ...]:
        differentiate = "nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True)"
        compiled = f"nnx.jit({differentiate})" if self.way == "jit" else differentiate
        return (
            *self._switch(mode),
            _given("x", self.dtype),
            _given("dy", self.dtype),
            "def loss(layer, x, dy):",
            f"    y = {self._call()}",
            "    return (y * dy).sum(), y",
            f"(_, y), (own, dx) = {compiled}(layer, x, dy)",
            _Y,
            _DX,
        )

    def state(self) -> dict[str, str]:
        return {"running_mean": "layer.mean[...]", "running_var": "layer.var[...]"} if self.is_batch else {}

    def gradient(self, parameter: str) -> str:
        return f"own[{'scale' if parameter == 'weight' else 'bias'!r}][...]"


class LinenTexts(NnxTexts):
    """Text about a linen ``layer`` and its ``variables``."""

    def _apply(self, mode: str, x: str = "x") -> str:
        flags = [f"use_running_average={mode == 'eval'}", "mutable=['batch_stats']"] if self.is_batch else []
        flags += [_MASK] if self.way == "mask" else []
        return ", ".join([f"layer.apply(variables, {x}", *flags]) + ")"

    def _lines(self, mode: str) -> tuple[str, ...]:
        """Lines that set ``y`` and, where there are statistics, ``changed``."""
        target = "y, changed" if self.is_batch else "y"
        if self.way != "vmap":
            return (f"{target} = {self._apply(mode)}",)
        axes = ", out_axes=(0, None)" if self.is_batch else ""
        mapped = f"jax.vmap(lambda one: {self._apply(mode, 'one')}{axes}, axis_name={AXIS_NAME!r})"
        return (f"{target} = {mapped}(x[:, None])", "y = y[:, 0]")

    def call(self, mode: str) -> tuple[str, ...]:
        lines = self._lines(mode)
        if self.way == "jit":
            target, _, call = lines[0].partition(" = ")
            lines = (f"{target} = jax.jit(lambda variables, x: {call})(variables, x)",)
        update = ("variables.update(changed)",) if self.is_batch else ()
        return (_given("x", self.dtype), *lines, *update, _Y)

    def backward(self, mode: str) -> tuple[str, ...]:
        result = "(y, changed)" if self.is_batch else "y"
        differentiate = "jax.value_and_grad(loss, argnums=(0, 2), has_aux=True)"
        compiled = f"jax.jit({differentiate})" if self.way == "jit" else differentiate
        return (
            _given("x", self.dtype),
            _given("dy", self.dtype),
            "def loss(params, others, x, dy):",
            "    variables = {'params': params, **others}",
            *(f"    {line}" for line in self._lines(mode)),
            f"    return (y * dy).sum(), {result}",
            "others = {name: value for name, value in variables.items() if name != 'params'}",
            f"(_, {result}), (own, dx) = {compiled}(variables.get('params', {{}}), others, x, dy)",
            *(("variables.update(changed)",) if self.is_batch else ()),
            _Y,
            _DX,
        )

    def state(self) -> dict[str, str]:
        place = "variables['batch_stats']"
        return {f"running_{name}": f"{place}[{name!r}]" for name in ("mean", "var")} if self.is_batch else {}

    def gradient(self, parameter: str) -> str:
        return f"own[{'scale' if parameter == 'weight' else 'bias'!r}]"
