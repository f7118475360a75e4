"""What a user differentiates in JAX beyond a gradient. Scripts are written from the source of these functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def second_of(function: Callable[[Any, Any], Any], parameters: Any, x: Any, dy: Any) -> Any:
    """The gradients of <dx, direction>, whose direction is dy as a constant, by x, dy and the parameters."""
    direction = dy

    def moved(x: Any, dy: Any, parameters: Any) -> Any:
        dx = jax.grad(lambda x: (function(parameters, x) * dy).sum())(x)
        return (dx * direction).sum()

    return jax.grad(moved, argnums=(0, 1, 2))(x, dy, parameters)


def forward_of(function: Callable[[Any], Any], x: Any, dy: Any) -> Any:
    """The output, its derivative along dy, and the derivative of that along dy."""
    y, jvp = jax.jvp(function, (x,), (dy,))
    _, jvp_of_jvp = jax.jvp(lambda x: jax.jvp(function, (x,), (dy,))[1], (x,), (dy,))
    return y, {"jvp": jvp, "jvp_of_jvp": jvp_of_jvp}


def named_second(by_x: Any, by_dy: Any, by_weight: Any) -> dict[str, Any]:
    found = {"second_x": by_x, "second_dy": by_dy, "second_weight": by_weight}
    return {name: value for name, value in found.items() if value is not None}
