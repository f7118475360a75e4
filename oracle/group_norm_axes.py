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
        code="sets = x.reshape(len(x), num_groups, -1)",
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
                meaning="G = 1 normalises each channel by itself",
                source="NVIDIA/TensorRT#4756",
            ),
            AxisValue(
                name="channels_last",
                meaning="groups are cut from (positions x channels) on the wrong axis: channels last, not transposed",
                source="tensorflow/addons#751",
            ),
            AxisValue(
                name="batch_included",
                meaning="all samples of the batch share their statistics",
                source="a reduction over axis 0, too",
            ),
            AxisValue(
                name="first_sample",
                meaning="the statistics of the first sample normalise every sample",
                source="a kernel that leaves the index of the sample out",
            ),
            AxisValue(
                name="next_group",
                meaning="group g is normalised by the statistics of another one, of group g + 1",
                source="an index that is off by one",
            ),
            AxisValue(
                name="each_channel",
                meaning="each channel is normalised by itself",
                source="InstanceNorm under the name of GroupNorm",
            ),
            AxisValue(
                name="whole_sample",
                meaning="the whole sample is normalised together, whatever G is",
                source="num_groups ignored",
            ),
            AxisValue(
                name="groups_of_g",
                meaning="G channels form a group, not C / G",
                source=(
                    "number and size of the groups exchanged, as in issue 12 of "
                    "IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization"
                ),
            ),
            AxisValue(
                name="first_channel",
                meaning="the first channel of a group normalises all of it",
                source="a loop over the channels of a group that ends after the first",
            ),
            AxisValue(
                name="last_channel_dropped",
                meaning="the last channel of a group does not count in its statistics",
                source="one too few in the loop over the channels of a group",
            ),
            AxisValue(
                name="every_second_value",
                meaning="every second value of a group counts in its statistics",
                source="pairs are loaded, and one of each is used",
            ),
            AxisValue(
                name="tail_dropped",
                meaning="a group, without the tail behind the last multiple of 4 values, divided by n",
                source="facebookresearch/xformers#785: a vectorised sum without its tail",
            ),
            AxisValue(
                name="tail_twice",
                meaning="a group, with values of the tail counted twice where n is no multiple of 4",
                source="a last vector that is loaded from the end on, over what was summed before",
            ),
            AxisValue(
                name="at_most_4",
                meaning="at most 4 groups: where G is larger and 4 divides C, as G = 4",
                source="a kernel for as many groups as it has blocks",
            ),
            AxisValue(
                name="last_axis_apart",
                meaning="each place of the last spatial axis is normalised by itself",
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
                meaning="from 33 positions on, zeros up to the next multiple of 32 enter the statistics",
                source="tenstorrent/tt-metal#50682",
            ),
        ),
        rare=(
            AxisValue(
                name="at_most_32",
                meaning="at most 32 groups: where G is larger and 32 divides C, as G = 32",
                source="a kernel for the 32 groups of the paper (Wu and He, 2018)",
            ),
            AxisValue(
                name="odd_value_dropped",
                meaning="a group, without the last of an odd number of values, divided by n",
                source="pairs are loaded, and the last value is left out",
            ),
            AxisValue(
                name="first_16_of_a_channel",
                meaning="from 17 positions on, with one channel a group, its first 16 positions",
                source="a fast path for one channel a group that ends after 16 positions",
            ),
        ),
    ),
    VARIANCE,
    Axis(
        name="affine_shape",
        question="how are weight and bias indexed",
        code="y = x_hat * weight[:, None, None] + bias[:, None, None]",
        values=(
            AxisValue(name="per_channel", meaning="channel c uses weight[c] and bias[c]", source="torch.nn.GroupNorm"),
            AxisValue(
                name="per_group",
                meaning="channel c uses weight[g] and bias[g] of its group g",
                source="ONNX GroupNormalization-18 (onnx/onnx #5466)",
            ),
        ),
        mistakes=(
            AxisValue(
                name="per_place_in_group",
                meaning="channel c uses weight and bias of its place in the group, c mod (C / G)",
                source="an index within the group, without the group's offset",
            ),
            AxisValue(
                name="interleaved_order",
                meaning="weight and bias are in another order of the channels, that of interleaved groups",
                source="mlx.nn.GroupNorm's groups, whose parameters are not permuted with the channels",
            ),
        ),
    ),
    CENTRE,
    EPS_VALUE,
    AFFINE,
    FOLLOWED_BY,
)
