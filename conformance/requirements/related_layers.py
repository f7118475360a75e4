"""GroupNorm compared with the framework's own InstanceNorm and LayerNorm. verdicts/related_layers.py has the cases."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.dtypes import FULL
from normgauge.conformance.requirements.requirement import GROUP_NORM, Requirement, of_group_norm

RELATED_LAYERS: Final[tuple[Requirement, ...]] = (
    of_group_norm(
        "GN-22", ground="formula", rule="kin", relation="groups = C", title="same as InstanceNorm",
        statement="With a group a channel, the framework's own InstanceNorm agrees.",
        source=f"{GROUP_NORM.paper}, section 3.1", dtypes=FULL, settles=("groups = C",),
    ),
    of_group_norm(
        "GN-23", ground="formula", rule="kin", relation="groups = 1", title="same as LayerNorm",
        statement="With one group and no affine parts, the framework's own LayerNorm agrees.",
        source=f"{GROUP_NORM.paper}, section 3.1", dtypes=FULL, settles=("groups = 1",),
    ),
)  # fmt: skip
