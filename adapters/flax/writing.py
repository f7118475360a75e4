"""How code for the layers of flax.nnx and flax.linen is written."""

from __future__ import annotations

from dataclasses import replace

from normgauge.adapters.case import Implementation
from normgauge.adapters.writing import Writing, options_of, quoted


def writing(implementation: Implementation) -> Writing:
    """The texts for a layer of flax.nnx, or for a module of flax.linen and its variables."""
    package = implementation.identity.module.rpartition(".")[2]
    nnx = Writing(
        imports=("import jax.numpy as jnp", f"from flax import {package}"),
        class_name=f"{package}.{implementation.class_name}",
        flags={"use_scale": ("weight",), "use_bias": ("bias",)},
        options={**options_of(implementation.options), "rngs": "nnx.Rngs(0)"},
        keys=quoted(implementation.names),
        write="getattr(layer, {name}).set_value(jnp.asarray({value}))",
        call=("layer.train() if training else layer.eval()", "y = layer(x)"),
        moved="jnp.moveaxis({x}, {a}, {b})",
        taken="jnp.take({x}, jnp.asarray({order}), axis={axis})",
        native="jnp.asarray({x})",
        plain="np.asarray({x})",
    )
    return nnx if package == "nnx" else _linen(implementation, nnx)


def _linen(implementation: Implementation, nnx: Writing) -> Writing:
    """The layer is the pair of the module and its variables, which a call in training changes."""
    tracks = implementation.layer == "batch_norm"
    call = (
        "module, variables = layer",
        "y, changed = module.apply(variables, x, use_running_average=not training, mutable=['batch_stats'])",
        "variables.update(changed)",
    )
    flag = ", use_running_average=True" if tracks else ""
    return replace(
        nnx,
        imports=("import jax", *nnx.imports),
        module="layer[0]",
        counted=False,
        options=options_of(implementation.options),
        made=(
            "shape = (1,) * ({ndim} - 1) + ({channels},)",
            f"layer = layer, dict(layer.init(jax.random.key(0), jnp.zeros(shape){flag}))",
        ),
        fixes_rank=True,
        keys={
            name: repr(("batch_stats" if name.startswith("running") else "params", own.strip("'")))
            for name, own in nnx.keys.items()
        },
        read="layer[1].get({name}[0], {{}}).get({name}[1])",
        write="layer[1][{name}[0]] = {{**layer[1][{name}[0]], {name}[1]: jnp.asarray({value})}}",
        call=call if tracks else ("module, variables = layer", "y = module.apply(variables, x)"),
    )
