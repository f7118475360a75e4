"""The layers of Keras on each of its backends. Nothing outside this folder imports it but the registry."""
