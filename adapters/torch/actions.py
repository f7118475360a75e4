"""What a user does to a torch layer between calls: reset, save and load, freeze, another momentum."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Implementation


class TorchState(Adapter):
    """The actions on ``torch.nn`` layers; freezing is ``requires_grad_(False)``, which torch's own tutorials use."""

    torch: Any

    def reset(self, layer: Any) -> None:
        layer.reset_running_stats()

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        file = io.BytesIO()
        self.torch.save(layer.state_dict(), file)
        file.seek(0)
        new = self.construct(implementation, case)
        new.load_state_dict(self.torch.load(file))
        return new

    def model(self, layer: Any) -> Any:
        return self.torch.nn.Sequential(layer)

    def freeze(self, layer: Any, frozen: bool) -> None:
        layer.requires_grad_(not frozen)

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        layer.momentum = momentum
        return layer

    def trainable(self, layer: Any) -> Iterable[str]:
        return [name for name, value in layer.named_parameters() if value.requires_grad]

    def state_recipe(self, implementation: Implementation, case: Case) -> StateRecipe:
        plain = ".float().numpy()" if case.dtype == "bfloat16" else ".numpy()"
        new = self.recipe(implementation, bare(case)).construct
        return StateRecipe(
            {
                "reset": ("layer.reset_running_stats()",),
                "save_load": (
                    "file = io.BytesIO()",
                    "torch.save(layer.state_dict(), file)",
                    "file.seek(0)",
                    *new,
                    "layer.load_state_dict(torch.load(file))",
                ),
                "freeze": ("layer.requires_grad_(False)",),
                "unfreeze": ("layer.requires_grad_(True)",),
                "freeze_model": ("torch.nn.Sequential(layer).requires_grad_(False)",),
                "unfreeze_model": ("torch.nn.Sequential(layer).requires_grad_(True)",),
                "momentum": ("layer.momentum = VALUE",),
            },
            {
                "weight": f"layer.weight.detach(){plain}",
                "bias": f"layer.bias.detach(){plain}",
                "trainable": "[name for name, value in layer.named_parameters() if value.requires_grad]",
            },
            ("import io",),
        )
