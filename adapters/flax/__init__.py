"""The layers of flax.nnx and flax.linen. Nothing outside this folder imports it but the registry."""
