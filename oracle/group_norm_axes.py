"""The axes of group normalization."""

from __future__ import annotations

from typing import Final

from normgauge.oracle.axis import Axis, AxisValue
from normgauge.oracle.shared_axes import AFFINE, CENTRE, EPS_PLACEMENT, EPS_VALUE, FOLLOWED_BY, VARIANCE

GROUP_NORM: Final = (
    EPS_PLACEMENT,
    Axis(
        name="grouping",
        question="which channels form a group",
        values=(
            AxisValue(
                name="contiguous", meaning="channel c belongs to group c // (C / G)", source="torch.nn.GroupNorm"
            ),
            AxisValue(
                name="interleaved",
                meaning="channel c belongs to group c mod G",
                source="mlx.nn.GroupNorm with pytorch_compatible=False",
            ),
        ),
        mistakes=(
            AxisValue(
                name="one_group_is_each_channel",
                meaning="one group is treated as one group a channel",
                source="NVIDIA/TensorRT#4756",
            ),
            AxisValue(
                name="channels_last",
                meaning="groups are cut from (positions x channels) on the wrong axis: channels last, not transposed",
                source="tensorflow/addons#751",
            ),
            AxisValue(
                name="batch_included",
                meaning="the samples of the batch share their statistics",
                source="a reduction over axis 0, too",
            ),
            AxisValue(
                name="first_sample",
                meaning="the statistics of the first sample normalise every sample",
                source="a kernel that leaves the index of the sample out",
            ),
            AxisValue(
                name="next_group",
                meaning="group g is normalised by the statistics of group g + 1",
                source="an index that is off by one",
            ),
            AxisValue(
                name="each_channel",
                meaning="each channel is normalised by itself",
                source="InstanceNorm under the name of GroupNorm",
            ),
            AxisValue(
                name="whole_sample",
                meaning="all channels of a sample are normalised together",
                source="num_groups ignored",
            ),
            AxisValue(
                name="last_axis_apart",
                meaning="each place of the last axis is normalised by itself",
                source="one spatial axis left out of the reduction",
            ),
            AxisValue(
                name="each_position",
                meaning="each position is normalised by itself",
                source="the spatial axes left out of the reduction",
            ),
            AxisValue(
                name="padded",
                meaning="zeros up to the next multiple of 32 positions enter the statistics",
                source="tenstorrent/tt-metal#50682",
            ),
            AxisValue(
                name="padded_above_32",
                meaning="above 32 positions, zeros up to the next multiple of 32 enter the statistics",
                source="tenstorrent/tt-metal#50682",
            ),
        ),
    ),
    VARIANCE,
    Axis(
        name="affine_shape",
        question="what the affine parameters are indexed by",
        values=(
            AxisValue(name="per_channel", meaning="channel c uses weight[c] and bias[c]", source="torch.nn.GroupNorm"),
            AxisValue(
                name="per_group",
                meaning="channel c uses weight[g] and bias[g] of its group g",
                source="ONNX GroupNormalization-18 (onnx/onnx #5466)",
            ),
        ),
    ),
    CENTRE,
    EPS_VALUE,
    AFFINE,
    FOLLOWED_BY,
)
