"""How code for Lucid's layers is written."""

from __future__ import annotations

from normgauge.adapters.case import Implementation
from normgauge.adapters.writing import Writing, options_of, quoted


def writing(implementation: Implementation) -> Writing:
    """The texts for one of lucid.nn's layers; arrays are moved in NumPy, which Lucid computes with."""
    return Writing(
        imports=("import lucid",),
        class_name=implementation.class_path,
        options=options_of(implementation.options),
        keys=quoted(implementation.names),
        write="getattr(layer, {name}).data = lucid.tensor({value}).data",
        call=("layer.train() if training else layer.eval()", "y = layer(x)"),
        moved="lucid.tensor(np.moveaxis({x}.numpy(), {a}, {b}))",
        taken="lucid.tensor(np.take({x}.numpy(), {order}, axis={axis}))",
        native="lucid.tensor({x})",
        ranks=(3,) if implementation.class_name == "BatchNorm1d" else (),  # BN-12: (N, C) is refused
        plain="{x}.numpy()",
    )
