"""How code for Keras' layers is written."""

from __future__ import annotations

from normgauge.adapters.case import Implementation
from normgauge.adapters.layout import CHANNELS_LAST
from normgauge.adapters.writing import Writing, options_of, quoted

_SHAPES = {True: "(None,) * ({ndim} - 1) + ({channels},)", False: "(None, {channels}) + (None,) * ({ndim} - 2)"}


def writing(implementation: Implementation) -> Writing:
    """The texts for one of keras.layers."""
    training = ", training=training" if implementation.layer == "batch_norm" else ""
    return Writing(
        imports=("import keras",),
        environment={"KERAS_BACKEND": implementation.backend},
        class_name=implementation.class_path,
        counted=False,
        flags={"scale": ("weight",), "center": ("bias",)},
        options=options_of(implementation.options),
        made=(f"layer.build({_SHAPES[implementation.layout == CHANNELS_LAST]})",),
        fixes_rank=True,
        keys=quoted(implementation.names),
        write="getattr(layer, {name}).assign({value})",
        call=(f"y = layer(x{training})",),
        moved="keras.ops.moveaxis({x}, {a}, {b})",
        taken="keras.ops.take({x}, {order}, axis={axis})",
        shaped="keras.ops.reshape({x}, {shape})",
        native="keras.ops.convert_to_tensor({x})",
        plain="keras.ops.convert_to_numpy({x})",
    )
