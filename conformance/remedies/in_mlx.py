"""What a user of MLX does to a BatchNorm, or to a model that has some, where plain calls do something else."""

from __future__ import annotations

import os
import tempfile
from typing import Any


def unfreeze(layer: Any) -> None:
    """Unfreeze a layer or a model, and freeze the running statistics again."""
    layer.unfreeze()
    for one in layer.modules():
        if "running_mean" in one:
            one.freeze(keys=["running_mean", "running_var"], recurse=False)


def saved_as_npz(layer: Any, new: Any) -> None:
    """Save the weights as .npz and load them into the new layer; .safetensors has no float64."""
    import mlx.core as mx

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "layer.npz")
        layer.save_weights(path)
        new.load_weights(path)
        mx.eval(new.state)  # before the file is gone


def compile_anew(layer: Any, momentum: float) -> dict[str, Any]:
    """Set the momentum and compile functions that did not exist before; the old ones keep the old momentum."""
    import mlx.core as mx

    layer.momentum = momentum

    def compiled() -> Any:
        return mx.compile(lambda x: layer(x), inputs=layer.state, outputs=layer.state)  # noqa: PLW0108

    return {"train_call": compiled(), "eval_call": compiled()}
