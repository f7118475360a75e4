"""GroupNorm compared with the framework's own InstanceNorm and LayerNorm. verdicts/related_layers.py has the cases."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.dtypes import FULL
from normgauge.conformance.requirements.requirement import Requirement, of_group_norm
from normgauge.conformance.requirements.sources import GROUP_NORM_PAPER

RELATED_LAYERS: Final[tuple[Requirement, ...]] = (
    of_group_norm(
        "GN-22", ground="formula", rule="kin", relation="groups = C", title="same as InstanceNorm",
        statement=(
            "With one channel per group, the framework's own InstanceNorm accepts the input too, and agrees within "
            "both bounds."
        ),
        source=(GROUP_NORM_PAPER.says("GN becomes IN if we set the group number as G = C", at="section 3.1"),),
        dtypes=FULL, settles=("groups = C",),
    ),
    of_group_norm(
        "GN-23", ground="formula", rule="kin", relation="groups = 1", title="same as LayerNorm",
        statement=(
            "With one group and without weight and bias, the framework's own LayerNorm accepts the input too, and "
            "agrees within both bounds."
        ),
        source=(GROUP_NORM_PAPER.says("GN becomes LN if we set the group number as G = 1", at="section 3.1"),),
        dtypes=FULL, settles=("groups = 1",),
    ),
)  # fmt: skip
