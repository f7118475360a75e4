"""How the typical error compares with measured honest arithmetic: percentiles of error / typical by n and order.

``python tests/support/typical.py`` prints the table of docs/bounds.md. The data are random: normal values about 0 or
about 4, normal weights, biases and dy. Every form of the output and of the gradients is drawn as in the soak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from honest import Array, Machine
from honest_layers import SAMPLES, Choices, Draw, Implementation, computed, references
from soak import IMPLEMENTATIONS, table

from normgauge.oracle import Arithmetic

LENGTHS: Final = (4, 256, 4_096, 100_000)
MEANS: Final = (0.0, 4.0)


def ratios(
    label: str, n: int, arithmetic: Arithmetic, store: Machine, machine: Machine, draws: int, least: int = 4_000
) -> Iterator[tuple[str, Array]]:
    """error / typical of every element of a quantity, once for each draw."""
    implementation: Implementation = IMPLEMENTATIONS[label]
    for number in range(draws):
        rng = np.random.default_rng([n, number, *label.encode()])
        draw = Draw.ordinary(rng, store, n, max(4, least // n) // SAMPLES)
        draw = replace(draw, x=store(draw.x + MEANS[number % len(MEANS)]))
        how = Choices.of(rng, implementation, draw.placement)
        wanted = references(draw, replace(arithmetic, accuracy=implementation.accuracy, typical=True))
        with np.errstate(all="ignore"):
            for quantity, values in computed(implementation, machine, draw, how):
                yield quantity, wanted[quantity].ratio(store(values))


TYPES: Final[dict[str, tuple[Arithmetic, Machine, Machine]]] = {
    "float32": (Arithmetic("float32"), Machine(dtype="float32"), Machine(dtype="float32")),
    "float64": (Arithmetic("float64"), Machine(dtype="float64"), Machine(dtype="float64")),
    "float16, float32 computes": (
        Arithmetic("float32", storage="float16"),
        Machine(dtype="float16"),
        Machine(dtype="float32"),
    ),
    "bfloat16, stored": (
        Arithmetic("float32", storage="bfloat16", stored=True),
        Machine(dtype="bfloat16"),
        Machine(dtype="bfloat16", sums="float32"),
    ),
}


def measured(label: str, n: int, dtype: str, draws: int, least: int = 4_000) -> dict[str, Array]:
    """error / typical by quantity, of all elements together."""
    arithmetic, store, machine = TYPES[dtype]
    found: dict[str, list[Array]] = {}
    for quantity, ratio in ratios(label, n, arithmetic, store, machine, draws, least):
        found.setdefault(quantity, []).append(ratio.ravel())
    return {quantity: np.concatenate(parts) for quantity, parts in found.items()}


#: Quantities of the table, by their heading.
SHOWN: Final = {
    "y": "group_norm y",
    "dx": "group_norm dx",
    "dw": "group_norm dweight",
    "running mean": "batch_norm running_mean",
    "running variance": "batch_norm running_var",
    "evaluation y": "evaluation y",
}
ORDERS: Final = ("naive", "pairwise", "blocked", "Welford", "one-pass")


def main() -> None:
    rows = []
    for label in ORDERS:
        for n in LENGTHS:
            found = measured(label, n, "float32", draws=8)
            numbers = (found[quantity] for quantity in SHOWN.values())
            rows.append([label, f"{n:,}", *(f"{np.median(one):.2g}, {np.quantile(one, 0.99):.2g}" for one in numbers)])
    print(table(["sums", "n", *SHOWN], rows))


if __name__ == "__main__":
    main()
