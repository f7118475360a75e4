"""How the inputs of a call lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.conformance.requirements.gradients import along
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import ARRAY_API, Asked, Layer, Requirement, twins

#: Pairs of layouts, of x and of dy; no name means in the order of the indices.
_PAIRS: Final = (
    ("strided", ""),
    ("channels_last", ""),
    ("", "channels_last"),
    ("offset", "strided"),
    ("expanded", ""),
)


def _placed(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for seed, (layout, dy_layout) in enumerate(_PAIRS):
        x = scrambled(asked.shape, seed)
        if layout == "expanded":
            x = np.repeat(x[:1], len(x), axis=0)
        case = layer.case(asked, [("train", x, along(scrambled(asked.shape, seed), seed))])
        (step,) = case.steps
        label = f"x {layout or 'dense'}, dy {dy_layout or 'dense'}"
        yield Probe(label=label, case=replace(case, steps=(replace(step, layout=layout, dy_layout=dy_layout),)))


MEMORY_LAYOUTS: Final[tuple[Requirement, ...]] = twins(
    "GN-36", "BN-46", title="memory layout",
    statement="How x and dy lie in memory, each for itself, changes no result.",
    source=f"{ARRAY_API}, design topics: copy-view behaviour and mutability", probes=_placed,
)  # fmt: skip
