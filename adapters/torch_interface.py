"""The interface of torch.nn's layers, which other frameworks copy: its classes and their arguments."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

from normgauge.adapters.case import Case, Implementation
from normgauge.adapters.implementations import EVERY_RANK, Row
from normgauge.adapters.lacks import BIAS_ALONE, PARTS, WEIGHT_ALONE, Lack, without

_NAMES: Final = {"weight": "weight", "bias": "bias", "eps": "eps"}
_GROUP_NAMES: Final = _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"}
_BATCH_NAMES: Final = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track_running_stats",
    "num_channels": "num_features",
}
LAYERS: Final[tuple[Row, ...]] = (
    ("GroupNorm", "group_norm", _GROUP_NAMES, EVERY_RANK),
    ("BatchNorm1d", "batch_norm", _BATCH_NAMES, (2, 3)),
    ("BatchNorm2d", "batch_norm", _BATCH_NAMES, (4,)),
    ("BatchNorm3d", "batch_norm", _BATCH_NAMES, (5,)),
)
#: What :attr:`Adapter.kin` has.
KIN: Final[tuple[Row, ...]] = (
    *(
        (f"InstanceNorm{rank - 2}d", "instance_norm", _NAMES | {"num_channels": "num_features"}, (rank,))
        for rank in (3, 4, 5)
    ),
    ("LayerNorm", "layer_norm", _NAMES, EVERY_RANK),
)


def settings_of(layer_class: type, implementation: Implementation, case: Case) -> dict[str, Any]:
    """The arguments with which a user constructs ``layer_class`` for ``case``."""
    given, layer = dict(case.settings), implementation.layer
    weight, bias = given.pop("weight", True), given.pop("bias", True)
    if layer == "layer_norm":
        del given["num_channels"], given["num_groups"]
        shape = case.steps[0].x.shape[1:]
        return {"normalized_shape": shape, **implementation.named(given), "elementwise_affine": False}
    if layer == "instance_norm":
        del given["num_groups"]
        return {**implementation.named(given), "affine": weight}
    left_out = {} if bias else {"bias": False} if weight else {"affine": False}
    return implementation.named(given) | left_out


def lacks_of(layer_class: type, implementation: Implementation) -> tuple[Lack, ...]:
    """The parameters that ``layer_class`` cannot have, or cannot leave out."""
    source = implementation.documentation
    if implementation.layer == "layer_norm":
        return without("the affine parts hold one value for each element, not for each channel", source, *PARTS)
    if implementation.layer == "instance_norm" or not takes(layer_class, "bias"):
        return without("affine leaves out both parameters or none", source, WEIGHT_ALONE, BIAS_ALONE)
    return without("affine=False leaves out both parameters; there is no bias without a weight", source, BIAS_ALONE)


def takes(layer_class: type, argument: str) -> bool:
    """Whether the constructor of this release has the argument."""
    return argument in _arguments(layer_class)


@functools.cache
def _arguments(layer_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(layer_class).parameters)
