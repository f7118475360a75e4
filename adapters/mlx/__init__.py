"""mlx.nn's layers. Nothing outside this folder imports it but the registry."""
