"""What a user does to a Flax layer between calls: save and load, another momentum. It has no reset and no freezing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Implementation

_PLACE: Final = 'os.path.join(folder, "layer")'
_CANONICAL: Final = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


class FlaxState(Adapter):
    """The actions on nnx modules, and on linen modules, whose state is a dictionary beside them.

    As Flax's guides do, a linen module's are saved by ``flax.serialization`` and an nnx module's by Orbax.
    """

    nnx: Any

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        new = self.construct(implementation, case)
        if _is_linen(layer):
            from flax import serialization

            new.variables = serialization.from_bytes(new.variables, serialization.to_bytes(layer.variables))
            return new
        import orbax.checkpoint

        with tempfile.TemporaryDirectory() as folder, orbax.checkpoint.StandardCheckpointer() as checkpointer:
            place = Path(folder) / "layer"
            checkpointer.save(place, self.nnx.state(layer.module))
            checkpointer.wait_until_finished()
            graph, state = self.nnx.split(new.module)
            new.module = self.nnx.merge(graph, checkpointer.restore(place, state))
            return new

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        if _is_linen(layer):
            layer.module = layer.module.clone(momentum=momentum)
        else:
            layer.module.momentum = momentum
        return layer

    def trainable(self, layer: Any) -> Iterable[str]:
        names = layer.variables.get("params", {}) if _is_linen(layer) else self.nnx.state(layer.module, self.nnx.Param)
        return [_CANONICAL[name] for name in names]

    def state_recipe(self, implementation: Implementation, case: Case) -> StateRecipe:
        linen = implementation.identity.module == "flax.linen"
        new = self.recipe(implementation, bare(case)).construct
        names = f"[{_CANONICAL!r}[name] for name in "
        if linen:
            parameters = {name: f"np.asarray(variables['params'][{native!r}])" for native, name in _PARAMETERS}
            return StateRecipe(
                {
                    "save_load": (
                        "written = serialization.to_bytes(variables)",
                        *new,
                        "variables = serialization.from_bytes(variables, written)",
                    ),
                    "momentum": ("layer = layer.clone(momentum=VALUE)",),
                },
                parameters | {"trainable": f"{names}variables.get('params', {{}})]"},
                ("from flax import serialization",),
            )
        return StateRecipe(
            {
                "save_load": (
                    "folder = tempfile.mkdtemp()",
                    "checkpointer = orbax.checkpoint.StandardCheckpointer()",
                    f"checkpointer.save({_PLACE}, nnx.state(layer))",
                    "checkpointer.wait_until_finished()",
                    *new,
                    "graph, state = nnx.split(layer)",
                    f"layer = nnx.merge(graph, checkpointer.restore({_PLACE}, state))",
                ),
                "momentum": ("layer.momentum = VALUE",),
            },
            {name: f"np.asarray(layer.{native}[...])" for native, name in _PARAMETERS}
            | {"trainable": f"{names}nnx.state(layer, nnx.Param)]"},
            ("import os", "import tempfile", "import orbax.checkpoint"),
        )


_PARAMETERS: Final = (("scale", "weight"), ("bias", "bias"))


def _is_linen(layer: Any) -> bool:
    return hasattr(layer, "variables")
