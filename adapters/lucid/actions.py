"""What a user does to a Lucid layer between calls: reset, save and load, freeze, another momentum."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Implementation

_FILE: Final = 'os.path.join(folder, "layer.lcd")'


class LucidState(Adapter):
    """The actions on ``lucid.nn`` layers; freezing sets ``requires_grad`` of every parameter, as there is no method."""

    lucid: Any

    def reset(self, layer: Any) -> None:
        layer.reset_running_stats()

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        new = self.construct(implementation, case)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "layer.lcd")
            self.lucid.save(layer.state_dict(), file)
            new.load_state_dict(self.lucid.load(file))
        return new

    def model(self, layer: Any) -> Any:
        return self.lucid.nn.Sequential(layer)

    def freeze(self, layer: Any, frozen: bool) -> None:
        for parameter in layer.parameters():
            parameter.requires_grad = not frozen

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        layer.momentum = momentum
        return layer

    def trainable(self, layer: Any) -> Iterable[str]:
        trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        return [name for name, value in self.state(layer).items() if any(value is one for one in trained)]

    def state_recipe(self, implementation: Implementation, case: Case) -> StateRecipe:
        new = self.recipe(implementation, bare(case)).construct
        freeze = "for parameter in {}.parameters(): parameter.requires_grad = {}"
        names = '("weight", "bias", "running_mean", "running_var")'
        same = "any(getattr(layer, name, None) is p for p in layer.parameters() if p.requires_grad)"
        return StateRecipe(
            {
                "reset": ("layer.reset_running_stats()",),
                "save_load": (
                    "folder = tempfile.mkdtemp()",
                    f"lucid.save(layer.state_dict(), {_FILE})",
                    *new,
                    f"layer.load_state_dict(lucid.load({_FILE}))",
                ),
                "freeze": (freeze.format("layer", False),),
                "unfreeze": (freeze.format("layer", True),),
                "freeze_model": (freeze.format("lucid.nn.Sequential(layer)", False),),
                "unfreeze_model": (freeze.format("lucid.nn.Sequential(layer)", True),),
                "momentum": ("layer.momentum = VALUE",),
            },
            {
                "weight": "layer.weight.numpy()",
                "bias": "layer.bias.numpy()",
                "trainable": f"[name for name in {names} if {same}]",
            },
            ("import os", "import tempfile"),
        )
