"""How the inputs of a call lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.requirements.gradients import along
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER

#: Layouts of x, and of x and dy; no name means in the order of the indices.
_CALLED: Final = ("strided", "offset", "channels_last", "expanded")
_DIFFERENTIATED: Final = (("channels_last", ""), ("", "channels_last"), ("offset", "strided"))


def _placed(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for layout in _CALLED:
        x = scrambled(asked.shape)
        x = np.repeat(x[:1], len(x), axis=0) if layout == "expanded" else x
        yield _probe(f"x {layout}", layer.case(asked, [("train", x)]), layout)
    for seed, (layout, dy_layout) in enumerate(_DIFFERENTIATED):
        x = scrambled(asked.shape, seed)
        case = layer.case(asked, [("train", x, along(x, seed))])
        label = f"x {layout or 'dense'}, dy {dy_layout or 'dense'}"
        yield _probe(label, case, layout, dy_layout)


def _probe(label: str, case: Case, layout: str, dy_layout: str = "") -> Probe:
    (step,) = case.steps
    return Probe(label=label, case=replace(case, steps=(replace(step, layout=layout, dy_layout=dy_layout),)))


MEMORY_LAYOUTS: Final[tuple[Requirement, ...]] = twins(
    "GN-36", "BN-46", ground="robustness", title="memory layout",
    statement="The memory layouts of x and of dy change no output, statistic or gradient.",
    source=Both(
        (
            GROUP_NORM_PAPER.implies(
                "the equations know a value by its index, not by its place in memory", at="section 3.1",
                quote="is a 4D vector indexing the features in (N, C, H, W) order",
            ),
        ),
        (
            BATCH_NORM_PAPER.implies(
                "the equations know a value by the feature map that it is in, not by its place in memory",
                at="section 3.2",
                quote="the set of all values in a feature map across both the elements of a mini-batch and spatial "
                      "locations",
            ),
        ),
    ),
    probes=_placed, allows=("layouts",),
)  # fmt: skip
