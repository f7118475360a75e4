"""torch.nn.GroupNorm and torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d.

Each also with inputs that lie otherwise in memory, as modes: in torch's ``channels_last`` format,
``strided`` (a view of every second element of a buffer whose other elements are NaN) and ``expanded``
(one sample in memory that is all samples of the batch).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.base import Array, Case, Implementation, Recipe, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.script import arguments, literal
from normgauge.adapters.torch_state import TorchState

_DOCS = "https://docs.pytorch.org/docs/stable/generated"
_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps"}
_GROUP_NAMES = _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track_running_stats",
    "num_channels": "num_features",
}
#: The memory formats that need inputs of one rank.
_FORMATS: Final = {"channels_last": 4, "channels_last_3d": 5}
_MODES: Final = ("eager", *_FORMATS, "strided", "expanded")


def _implementations(name: str, layer: str, names: Mapping[str, str], *ranks: int) -> tuple[Implementation, ...]:
    """The layer in every mode that its ranks allow."""
    return tuple(
        Implementation(
            f"torch.nn.{name}{'' if mode == 'eager' else f'[{mode}]'}",
            layer,
            CHANNELS_FIRST,
            names,
            f"{_DOCS}/torch.nn.{name}.html",
            ranks=(_FORMATS[mode],) if mode in _FORMATS else ranks,
            remedies={"accuracy=one_pass": "call x.contiguous() first"} if mode in _FORMATS else {},
            mode=mode,
        )
        for mode in _MODES
        if _FORMATS.get(mode, ranks[0]) in ranks
    )


class TorchAdapter(TorchState):
    framework = "torch"
    distribution = "torch"
    implementations = (
        *_implementations("GroupNorm", "group_norm", _GROUP_NAMES, 2, 3, 4, 5),
        *_implementations("BatchNorm1d", "batch_norm", _BATCH_NAMES, 2, 3),
        *_implementations("BatchNorm2d", "batch_norm", _BATCH_NAMES, 4),
        *_implementations("BatchNorm3d", "batch_norm", _BATCH_NAMES, 5),
    )
    kin = (
        *(
            Implementation(
                f"torch.nn.InstanceNorm{rank - 2}d",
                "instance_norm",
                CHANNELS_FIRST,
                _NAMES | {"num_channels": "num_features"},
                f"{_DOCS}/torch.nn.InstanceNorm{rank - 2}d.html",
                ranks=(rank,),
            )
            for rank in (3, 4, 5)
        ),
        Implementation("torch.nn.LayerNorm", "layer_norm", CHANNELS_FIRST, _NAMES, f"{_DOCS}/torch.nn.LayerNorm.html"),
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import torch

        self.torch = torch

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.torch.nn, _class_path(implementation).rpartition(".")[2])

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        if implementation in self.kin:
            given.pop("num_groups")
        if implementation.layer == "layer_norm":
            if weight or bias:
                raise Unsupported("the affine parts of LayerNorm hold one value for each element, not for each channel")
            return {"normalized_shape": case.steps[0].x.shape[1:], "eps": given["eps"], "elementwise_affine": False}
        settings = {names[name]: value for name, value in given.items()}
        if implementation.layer == "instance_norm":
            if weight != bias:
                raise Unsupported("affine leaves out both parameters or none")
            return settings | {"affine": weight}
        if bias and not weight:
            raise Unsupported("affine=False leaves out both parameters; there is no bias without a weight")
        if not weight:
            settings["affine"] = False
        elif not bias:
            if "bias" not in _arguments(self.layer_class(implementation)):
                raise Unsupported("this release has no bias argument")
            settings["bias"] = False
        return settings

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings = self._settings(implementation, case)
        layer = self.layer_class(implementation)(**settings, dtype=getattr(self.torch, self.dtype))
        with self.torch.no_grad():
            for name, value in case.parameters.items():
                getattr(layer, name).copy_(self._tensor(value.copy()))
        return layer

    def _tensor(self, value: Array) -> Any:
        return self.torch.from_numpy(value).to(getattr(self.torch, self.dtype))

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        with self.torch.no_grad():
            return layer(x)

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        layer.train(training)
        wanted = {"dx": x.requires_grad_(), "dweight": layer.weight, "dbias": layer.bias}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        y = layer(x)
        found = self.torch.autograd.grad(y, list(wanted.values()), dy)
        return y.detach(), dict(zip(wanted, found, strict=True))

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: value for name in names if (value := getattr(layer, name, None)) is not None}

    def vector(self, value: Any) -> Array:
        plain = value.detach()
        return (plain.float() if plain.dtype == self.torch.bfloat16 else plain).numpy()  # type: ignore[no-any-return]

    def memory(self, value: Any) -> Array | None:
        return storage_of(value)

    def upstream_to_native(self, implementation: Implementation, dy: Array) -> Any:
        # The samples of an expanded batch are one, their gradients need not be.
        return self._tensor(dy) if implementation.mode == "expanded" else self.to_native(implementation, dy)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        mode, plain = implementation.mode, self._tensor(x)
        if mode in _FORMATS:
            return self._in_format(plain, mode)
        if mode == "strided":
            buffer = self.torch.full([2 * n for n in x.shape], self.torch.nan, dtype=plain.dtype)
            return buffer[(slice(1, None, 2),) * x.ndim].copy_(plain)
        if mode == "expanded":
            if any(not np.array_equal(x[0], other, equal_nan=True) for other in x[1:]):
                raise Unsupported("an expanded batch holds one sample N times; the samples of this one differ")
            return self._tensor(x[:1].copy()).expand(x.shape)  # no other sample lies behind it
        return plain

    def _in_format(self, plain: Any, mode: str) -> Any:
        if plain.ndim != _FORMATS[mode]:
            raise Unsupported(f"{mode} is a format of {_FORMATS[mode]} dimensions; x has {plain.ndim}")
        return plain.to(memory_format=getattr(self.torch, mode))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return self.vector(value)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        settings = arguments(self._settings(implementation, case))
        construct = [f"layer = {_class_path(implementation)}({settings}, dtype=torch.{case.dtype})"]
        for name, value in case.parameters.items():
            construct.append(f"layer.{name}.data.copy_(torch.from_numpy({literal(value, case.dtype)}))")
        before, x = _native_text(implementation.mode, "x", case.dtype)
        dy_mode = "eager" if implementation.mode == "expanded" else implementation.mode
        before_dy, dy = _native_text(dy_mode, "dy", case.dtype)
        plain = ".float().numpy()" if case.dtype == "bfloat16" else ".numpy()"
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        parameters = [name for name in ("weight", "bias") if case.settings.get(name, True)]
        return Recipe(
            ("import torch",),
            tuple(construct),
            {mode: (*before, f"y = layer.{mode}()({x}).detach(){plain}") for mode in ("train", "eval")},
            {name: f"layer.{name}.float()" for name in ("running_mean", "running_var") if track}
            if case.dtype == "bfloat16"
            else {name: f"layer.{name}" for name in ("running_mean", "running_var") if track},
            {
                mode: (
                    *before,
                    f"given = ({x}).requires_grad_()",
                    "layer.zero_grad()",
                    f"output = layer.{mode}()(given)",
                    *before_dy,
                    f"output.backward({dy})",
                    f"y, dx = output.detach(){plain}, given.grad{plain}",
                )
                for mode in ("train", "eval")
            },
            {f"d{name}": f"layer.{name}.grad{plain}" for name in parameters},
        )


def storage_of(tensor: Any) -> Array:
    """The bytes of the storage of a tensor on the CPU, all of them, whatever part of it the tensor shows."""
    import torch

    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy()  # type: ignore[no-any-return]


@functools.cache
def _arguments(layer_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(layer_class).parameters)


def _class_path(implementation: Implementation) -> str:
    return implementation.id.partition("[")[0]


def _native_text(mode: str, name: str, dtype: str) -> tuple[tuple[str, ...], str]:
    """The same as :meth:`TorchAdapter.to_native`, as lines that prepare an expression and the expression."""
    cast = ".to(torch.bfloat16)" if dtype == "bfloat16" else ""
    plain = f"torch.from_numpy({name}){cast}"
    if mode in _FORMATS:
        return (), f"{plain}.to(memory_format=torch.{mode})"
    if mode == "strided":
        buffer = f"buffer = torch.full([2 * n for n in {name}.shape], torch.nan, dtype={plain}.dtype)"
        return (buffer,), f"buffer[(slice(1, None, 2),) * {name}.ndim].copy_({plain})"
    if mode == "expanded":
        return (), f"torch.from_numpy({name}[:1].copy()){cast}.expand({name}.shape)"
    return (), plain
