"""What a user does to an MLX layer between calls: save and load, freeze, another momentum. It has no reset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Implementation

_FILE: Final = 'os.path.join(folder, "layer.safetensors")'


class MlxState(Adapter):
    """The actions on ``mlx.nn`` layers, by the methods of ``mlx.nn.Module``."""

    mx: Any
    nn: Any

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        new = self.construct(implementation, case)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "layer.safetensors")
            layer.save_weights(file)
            new.load_weights(file)
            self.mx.eval(new.state)  # before the file is gone
        return new

    def model(self, layer: Any) -> Any:
        return self.nn.Sequential(layer)

    def freeze(self, layer: Any, frozen: bool) -> None:
        layer.freeze() if frozen else layer.unfreeze()

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        layer.momentum = momentum
        return layer

    def trainable(self, layer: Any) -> Iterable[str]:
        return list(layer.trainable_parameters())

    def state_recipe(self, implementation: Implementation, case: Case) -> StateRecipe:
        new = self.recipe(implementation, bare(case)).construct
        cast = ".astype(mx.float32)" if case.dtype == "bfloat16" else ""
        return StateRecipe(
            {
                "save_load": (
                    "folder = tempfile.mkdtemp()",
                    f"layer.save_weights({_FILE})",
                    *new,
                    f"layer.load_weights({_FILE})",
                ),
                "freeze": ("layer.freeze()",),
                "unfreeze": ("layer.unfreeze()",),
                "freeze_model": ("nn.Sequential(layer).freeze()",),
                "unfreeze_model": ("nn.Sequential(layer).unfreeze()",),
                "momentum": ("layer.momentum = VALUE",),
            },
            {
                "weight": f"np.array(layer.weight{cast})",
                "bias": f"np.array(layer.bias{cast})",
                "trainable": "layer.trainable_parameters()",
            },
            ("import os", "import tempfile"),
        )
