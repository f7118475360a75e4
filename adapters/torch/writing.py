"""How code for torch's layers is written."""

from __future__ import annotations

from normgauge.adapters.case import Implementation
from normgauge.adapters.writing import Writing, options_of, quoted


def writing(implementation: Implementation) -> Writing:
    """The texts for one of torch.nn's layers."""
    return Writing(
        imports=("import torch",),
        class_name=implementation.class_path,
        options=options_of(implementation.options),
        keys=quoted(implementation.names),
        write="getattr(layer, {name}).data.copy_(torch.as_tensor({value}))",
        call=("layer.train(training)", "y = layer(x)"),
        moved="torch.movedim({x}, {a}, {b})",
        taken="torch.index_select({x}, {axis}, torch.as_tensor({order}))",
        native="torch.as_tensor({x})",
        plain="{x}.detach().numpy()",
    )
