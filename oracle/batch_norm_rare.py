"""The rare mistakes of batch normalization: values of its axes that few layers have, or that few inputs show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from normgauge.oracle.axis import AxisValue

#: By the name of the axis.
RARE: Final[Mapping[str, tuple[AxisValue, ...]]] = {
    "variance": (
        AxisValue(
            name="about_running_mean",
            meaning="the mean of the squares about the running mean, not about that of the batch",
            source="statistics at hand that are not the batch's",
        ),
    ),
    "normalized_together": (
        AxisValue(
            name="odd_value_dropped",
            meaning="a channel, without the last of an odd number of values, divided by n",
            source="pairs are loaded, and the last value is left out",
        ),
        AxisValue(
            name="channels_last",
            meaning="every C-th value as they lie in memory, for all samples: the wrong axis, that of channels last",
            source="intel/ipex-llm#2981",
        ),
    ),
    "running_var": (
        AxisValue(
            name="factor_of_elements",
            meaning="the variance times m / (m - 1), m the number of elements of x, in place of n / (n - 1)",
            source="mlpack/mlpack#2474: the size of x in place of that of a channel",
        ),
    ),
    "momentum_value": (
        AxisValue(
            name="of_each_sample",
            meaning="the new value weighs 1 - (1 - momentum)^N, N the number of samples: an update for each of them",
            source="an update in the loop over the samples",
        ),
    ),
    "momentum_none": (
        AxisValue(
            name="counted_in_samples",
            meaning="the new value weighs 1 / (t N) in batch t, N the number of samples in it: samples are counted",
            source="a count of samples in place of batches",
        ),
    ),
    "training_normalizes_with": (
        AxisValue(
            name="running_before",
            meaning="the running statistics normalise as they are before the batch, which then enters them",
            source="a layer that is left in eval, but tracks",
        ),
    ),
    "updates": (
        AxisValue(
            name="stored_in_half",
            meaning="once in each call in training, and they are stored in half precision (float16)",
            source="buffers that are cast with the weights",
        ),
    ),
    "eval_reads": (
        AxisValue(
            name="zeros",
            meaning="mean and variance are taken for 0: sums divided by a factor of 0, which is read as none",
            source="NVIDIA/caffe#436",
        ),
        AxisValue(
            name="folded_shift_not_scaled",
            meaning="the running mean and variance, by a fold whose shift is not scaled: "
            "y = x * weight / sqrt(var + eps) + bias - mean",
            source="XiaoMi/mace#262",
        ),
        AxisValue(
            name="last_batch",
            meaning="the mean and the unbiased variance of the last batch in training, where there was one",
            source="the statistics that are saved for the backward pass",
        ),
    ),
}
