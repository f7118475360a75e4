"""torch.nn.GroupNorm and torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, in the modes of ``modes.py``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Final

from normgauge.adapters.base import Recipe
from normgauge.adapters.case import PARAMETERS, Array, Case, Implementation, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.memory import in_the_storage_of, storage_of
from normgauge.adapters.script import arguments, literal
from normgauge.adapters.torch.actions import TorchState
from normgauge.adapters.torch.modes import MODES, Mode

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
_LAYOUTS: Final = ("channels_last", "channels_last_3d", "strided", "expanded")
_CALLS: Final = ("mixed", "autocast", "compile", "mixed_compile")
_KIN: Final = ("instance_norm", "layer_norm")


def _implementations(
    name: str, layer: str, names: Mapping[str, str], ranks: tuple[int, ...], modes: tuple[str, ...]
) -> tuple[Implementation, ...]:
    """The layer in each of the modes that its ranks allow."""
    return tuple(
        Implementation(
            f"torch.nn.{name}{'' if mode.name == 'eager' else f'[{mode.name}]'}",
            layer,
            CHANNELS_FIRST,
            names,
            f"{_DOCS}/torch.nn.{name}.html",
            ranks=ranks if mode.rank is None else (mode.rank,),
            remedies=mode.remedies,
            mode=mode.name,
            thorough=mode.thorough,
            compiles=mode.thorough,
            dtypes=mode.dtypes,
        )
        for mode in map(MODES.__getitem__, ("eager", *modes))
        if mode.rank is None or mode.rank in ranks
    )


class TorchAdapter(TorchState):
    framework = "torch"
    distribution = "torch"
    dtypes_together = True
    cheap = True
    implementations = (
        *_implementations("GroupNorm", "group_norm", _GROUP_NAMES, (2, 3, 4, 5), (*_LAYOUTS, *_CALLS, "vmap")),
        *_implementations("BatchNorm1d", "batch_norm", _BATCH_NAMES, (2, 3), _LAYOUTS),
        # Who calls a layer does not depend on its rank: one of the three stands for all.
        *_implementations("BatchNorm2d", "batch_norm", _BATCH_NAMES, (4,), (*_LAYOUTS, *_CALLS)),
        *_implementations("BatchNorm3d", "batch_norm", _BATCH_NAMES, (5,), _LAYOUTS),
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
        self._no_grad = torch.no_grad()
        #: The names in PARAMETERS of the attributes of each class, which may be None.
        self._has: dict[type, tuple[str, ...]] = {}
        #: The mode of the layer constructed last, which is the one that is asked, and what is called in its place.
        self._mode: Mode = MODES["eager"]
        self._called: Any = None

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.torch.nn, _class_path(implementation).rpartition(".")[2])

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        if implementation.layer in _KIN:
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

    def missing(self, implementation: Implementation) -> str | None:
        return MODES[implementation.mode].missing()

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings, mode = self._settings(implementation, case), MODES[implementation.mode]
        dtype = getattr(self.torch, mode.parameter_dtype(self.dtype))
        layer = self.layer_class(implementation)(**settings, dtype=dtype)
        for name, value in case.parameters.items():
            getattr(layer, name).data.copy_(self._tensor(value.copy()))
        self._mode, self._called = mode, mode.prepare(self.torch, layer)
        return layer

    def _tensor(self, value: Array) -> Any:
        return self.torch.from_numpy(value).to(getattr(self.torch, self.dtype))

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        with self._no_grad:
            return self._mode.call(self.torch, self._called, x)

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        layer.train(training)
        return self._mode.gradients(self.torch, self._called, x, dy)

    def state(self, layer: Any) -> Mapping[str, Any]:
        kind = type(layer)
        if kind not in self._has:  # to ask for an attribute that is not there takes torch long
            self._has[kind] = tuple(name for name in PARAMETERS if hasattr(layer, name))
        return {name: value for name in self._has[kind] if (value := getattr(layer, name)) is not None}

    def vector(self, value: Any) -> Array:
        plain = value.detach()
        return (plain.float() if plain.dtype == self.torch.bfloat16 else plain).numpy()  # type: ignore[no-any-return]

    def memory(self, value: Any) -> Array | None:
        return storage_of(value)

    def sharing(self, output: Any, others: Mapping[str, Any]) -> list[str]:
        return in_the_storage_of(output, others)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return MODES[implementation.mode].native(self.torch, self._tensor(x))

    def upstream_to_native(self, implementation: Implementation, dy: Array) -> Any:
        return MODES[implementation.mode].upstream(self.torch, self._tensor(dy))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return self.vector(MODES[implementation.mode].canonical(value))

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        settings, mode = arguments(self._settings(implementation, case)), MODES[implementation.mode]
        dtype = mode.parameter_dtype(case.dtype)
        construct = [f"layer = {_class_path(implementation)}({settings}, dtype=torch.{dtype})"]
        for name, value in case.parameters.items():
            construct.append(f"layer.{name}.data.copy_(torch.from_numpy({literal(value, case.dtype)}))")
        cast = ".to(torch.bfloat16)" if case.dtype == "bfloat16" else ""
        before, x = mode.native_text("x", f"torch.from_numpy(x){cast}")
        before_dy, dy = mode.upstream_text("dy", f"torch.from_numpy(dy){cast}")
        plain = ".float().numpy()" if case.dtype == "bfloat16" else ".numpy()"
        tracked = ("running_mean", "running_var")
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        parameters = [name for name in ("weight", "bias") if case.settings.get(name, True)]
        return Recipe(
            ("import torch",),
            (*construct, *mode.prepare_text()),
            {
                way: (f"layer.{way}()", *before, *mode.call_text(x, case.dtype), f"y = output.detach(){plain}")
                for way in ("train", "eval")
            },
            {name: f"layer.{name}{'.float()' if cast else ''}" for name in tracked if track},
            {
                way: (
                    f"layer.{way}()",
                    *before,
                    *(() if not before else (f"given = {x}",)),
                    *before_dy,
                    *mode.gradients_text("given" if before else x, dy, case.dtype),
                    f"y, dx = output.detach(){plain}, found['dx']{plain}",
                )
                for way in ("train", "eval")
            },
            {f"d{name}": f"found['d{name}']{plain}" for name in parameters},
        )


@functools.cache
def _arguments(layer_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(layer_class).parameters)


def _class_path(implementation: Implementation) -> str:
    return implementation.id.partition("[")[0]
