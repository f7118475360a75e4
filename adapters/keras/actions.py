"""What a user does to a Keras layer between calls: save and load, freeze, another momentum. It has no reset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Implementation

_NATIVE: Final = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_CANONICAL: Final = {native: name for name, native in _NATIVE.items()}
#: One model for each layer, as long as it lives.
_MODELS: Final = 'models = globals().get("models", {})'
_MODEL: Final = "models.setdefault(id(layer), keras.Sequential([layer]))"
_FILE: Final = 'os.path.join(folder, "model.weights.h5")'


class KerasState(Adapter):
    """The actions on ``keras.layers``: weights are saved by a model, and freezing is ``trainable``."""

    keras: Any

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        new = self.construct(implementation, case)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "model.weights.h5")
            self._built_model(layer, case).save_weights(file)
            self._built_model(new, case).load_weights(file)
        return new

    def _built_model(self, layer: Any, case: Case) -> Any:
        model = self.model(layer)
        model.build(_input_shape(layer, case))
        return model

    def model(self, layer: Any) -> Any:
        return self.keras.Sequential([layer])

    def freeze(self, layer: Any, frozen: bool) -> None:
        layer.trainable = not frozen

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        layer.momentum = momentum
        return layer

    def trainable(self, layer: Any) -> Iterable[str]:
        return [_CANONICAL[variable.name] for variable in layer.trainable_variables]

    def state_recipe(self, implementation: Implementation, case: Case) -> StateRecipe:
        new = self.recipe(implementation, bare(case)).construct
        shape = _shape(case, channels_first=implementation.options.get("axis") == 1)
        names = f"[{{v: k for k, v in {_NATIVE!r}.items()}}[v.name] for v in layer.trainable_variables]"
        return StateRecipe(
            {
                "save_load": (
                    "folder = tempfile.mkdtemp()",
                    "model = keras.Sequential([layer])",
                    f"model.build({shape})",
                    f"model.save_weights({_FILE})",
                    *new,
                    "model = keras.Sequential([layer])",
                    f"model.build({shape})",
                    f"model.load_weights({_FILE})",
                ),
                "freeze": ("layer.trainable = False",),
                "unfreeze": ("layer.trainable = True",),
                "freeze_model": (_MODELS, f"{_MODEL}.trainable = False"),
                "unfreeze_model": (_MODELS, f"{_MODEL}.trainable = True"),
                "momentum": ("layer.momentum = VALUE",),
            },
            {
                "weight": "keras.ops.convert_to_numpy(layer.gamma)",
                "bias": "keras.ops.convert_to_numpy(layer.beta)",
                "trainable": names,
            },
            ("import os", "import tempfile"),
        )


def _input_shape(layer: Any, case: Case) -> tuple[int, ...]:
    return _shape(case, channels_first=layer.axis == 1 and case.steps[0].x.ndim > 2)


def _shape(case: Case, *, channels_first: bool) -> tuple[int, ...]:
    samples, channels, *spatial = case.steps[0].x.shape
    return (samples, channels, *spatial) if channels_first else (samples, *spatial, channels)
