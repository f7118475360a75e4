"""How code for MLX's layers is written."""

from __future__ import annotations

from normgauge.adapters.case import Implementation
from normgauge.adapters.writing import Writing, options_of, quoted


def writing(implementation: Implementation) -> Writing:
    """The texts for one of mlx.nn's layers."""
    return Writing(
        imports=("import mlx.core as mx", "import mlx.nn as nn"),
        class_name=f"nn.{implementation.class_name}",
        options=options_of(implementation.options),
        keys=quoted(implementation.names),
        write="setattr(layer, {name}, mx.array({value}))",
        call=("layer.train(training)", "y = layer(x)"),
        moved="mx.moveaxis({x}, {a}, {b})",
        taken="mx.take({x}, mx.array({order}), axis={axis})",
        native="mx.array({x})",
        plain="np.array({x})",
    )
