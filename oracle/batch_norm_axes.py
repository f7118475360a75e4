"""The axes of batch normalization."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from normgauge.oracle.axis import Axis, AxisValue
from normgauge.oracle.batch_norm_rare import RARE
from normgauge.oracle.shared_axes import AFFINE, CENTRE, EPS_PLACEMENT, EPS_VALUE, FOLLOWED_BY, VARIANCE

_IGNORED_IN_TRAINING: Final = AxisValue(
    name="ignored_in_training",
    meaning="none in training, the eps that is given in eval: eps is ignored in training",
    source="a path of training that is another kernel than that of eval",
)
BATCH_NORM: Final = (
    EPS_PLACEMENT,
    replace(VARIANCE, rare=(*VARIANCE.rare, *RARE["variance"])),
    Axis(
        name="normalized_together",
        question="which values are normalised together in training",
        code="sets = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)",
        values=(
            AxisValue(name="channel", meaning="a channel of all samples and positions", source="torch.nn.BatchNorm2d"),
        ),
        mistakes=(
            AxisValue(
                name="each_sample",
                meaning="a channel of each sample by itself",
                source="InstanceNorm under the name of BatchNorm",
            ),
            AxisValue(
                name="each_position",
                meaning="a channel at each position by itself, over the samples",
                source="the spatial axes left out of the reduction",
            ),
            AxisValue(
                name="last_axis_apart",
                meaning="a channel at each place of the last spatial axis by itself",
                source="one spatial axis left out of the reduction",
            ),
            AxisValue(
                name="all_channels", meaning="all channels together", source="the axis of the channels reduced, too"
            ),
            AxisValue(
                name="first_sample",
                meaning="a channel of the first sample, where that has several values, for every sample",
                source="a kernel that leaves the index of the sample out",
            ),
            AxisValue(
                name="next_channel",
                meaning="channel c with the statistics of another one, of channel c + 1",
                source="an index that is off by one",
            ),
            AxisValue(
                name="every_second_value",
                meaning="every second value of a channel normalises all of it",
                source="pairs are loaded, and one of each is used",
            ),
            AxisValue(
                name="tail_dropped",
                meaning="a channel, without the tail behind the last multiple of 4 values, divided by n",
                source="facebookresearch/xformers#785: a vectorised sum without its tail",
            ),
            AxisValue(
                name="tail_twice",
                meaning="a channel, with values of the tail counted twice where n is no multiple of 4",
                source="a last vector that is loaded from the end on, over what was summed before",
            ),
            AxisValue(
                name="half_batches",
                meaning="a channel of each half of the batch, of several values, by itself: virtual batches",
                source="ghost batch normalization (Hoffer et al., 2017, arXiv:1705.08741) with two virtual batches",
            ),
            AxisValue(
                name="padded",
                meaning="a channel with zeros up to the next multiple of 32 positions",
                source="tenstorrent/tt-metal#50682",
            ),
            AxisValue(
                name="padded_above_32",
                meaning="a channel with zeros up to the next multiple of 32 positions, from 33 positions on",
                source="tenstorrent/tt-metal#50682",
            ),
        ),
        rare=RARE["normalized_together"],
    ),
    Axis(
        name="running_var",
        question="which variance does the running variance track",
        code="running_var = (1 - momentum) * running_var + momentum * var[:, 0] * n / (n - 1)",
        values=(
            AxisValue(name="unbiased", meaning="the variance with divisor n - 1", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="biased",
                meaning="the variance with divisor n",
                source="keras.layers.BatchNormalization",
            ),
        ),
        mistakes=(
            AxisValue(
                name="deviation",
                meaning="the standard deviation: the root of the unbiased variance",
                source="torch/nn BatchNormalization.lua, whose older releases kept running_std",
            ),
            AxisValue(
                name="of_samples",
                meaning="the variance with divisor N - 1, N the number of samples, in place of N * positions - 1",
                source="a divisor of the number of samples alone",
            ),
            AxisValue(
                name="factor_of_samples",
                meaning="the variance times N / (N - 1), N the number of samples, in place of n / (n - 1)",
                source="a factor of the number of samples alone",
            ),
            AxisValue(
                name="about_running_mean",
                meaning="the unbiased variance about the running mean: with the square of how far the means lie apart",
                source="West's update with the mean before it",
            ),
            AxisValue(
                name="of_parts",
                meaning="the mean of the variances of the samples",
                source="statistics of each sample that are averaged (InstanceNorm that tracks)",
            ),
            AxisValue(
                name="second_moment",
                meaning="the mean of the squares: the unbiased variance plus the square of the mean",
                source="E[x^2] tracked in place of the variance",
            ),
            AxisValue(
                name="with_the_mean",
                meaning="the unbiased variance, and the running mean is scaled by n / (n - 1), too",
                source="the factor applied to both",
            ),
            AxisValue(
                name="with_eps",
                meaning="the unbiased variance with eps added: the running variance + eps",
                source="eps added before the variance is stored, and once more where it is read",
            ),
        ),
        rare=RARE["running_var"],
    ),
    Axis(
        name="momentum_weighs",
        question="which value does momentum weigh",
        code="running_mean = (1 - momentum) * running_mean + momentum * mean[:, 0]",
        values=(
            AxisValue(
                name="new",
                meaning="momentum weighs the new value: running = (1 - momentum) * running + momentum * batch",
                source="torch.nn.BatchNorm2d",
            ),
            AxisValue(
                name="old",
                meaning="momentum weighs the old value: running = momentum * running + (1 - momentum) * batch",
                source="keras.layers.BatchNormalization",
            ),
        ),
    ),
    Axis(
        name="momentum_value",
        question="which momentum is used",
        code="running_mean = (1 - momentum) * running_mean + momentum * mean[:, 0]",
        values=(AxisValue(name="as_given", meaning="the momentum that is given", source="torch.nn.BatchNorm2d"),),
        mistakes=(
            AxisValue(
                name="one_tenth",
                meaning="momentum is always 0.1, whatever is given",
                source="a constant in place of the argument",
            ),
            AxisValue(
                name="one",
                meaning="momentum is always 1, whatever is given: the last batch replaces what was tracked",
                source="an assignment in place of the blend",
            ),
            AxisValue(
                name="squared",
                meaning="momentum is squared",
                source="a weight applied twice, by the layer and by its kernel",
            ),
        ),
        rare=RARE["momentum_value"],
    ),
    Axis(
        name="momentum_none",
        question="what does momentum=None mean",
        code="momentum = 1 / batches",
        values=(
            AxisValue(
                name="cumulative",
                meaning="the running statistics are plain averages of all batches",
                source="torch.nn.BatchNorm2d",
            ),
            AxisValue(
                name="fixed",
                meaning="the new value weighs 0.1",
                source="lucid.nn.BatchNorm2d 2.12.8",
            ),
            AxisValue(
                name="refused",
                meaning="None is refused",
                source="keras.layers.BatchNormalization",
            ),
        ),
        mistakes=(
            AxisValue(
                name="counted_late",
                meaning="averages of which a batch is counted late: the second batch replaces the first",
                source="a count that is read before the batch is counted",
            ),
        ),
        rare=RARE["momentum_none"],
    ),
    Axis(
        name="single_value",
        question="what does training do with one value per channel",
        values=(
            AxisValue(name="refused", meaning="the call is refused", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="shift",
                meaning="the output is the bias: x - mean is zero",
                source="keras.layers.BatchNormalization",
            ),
            AxisValue(
                name="nan",
                meaning="the output is NaN: zero divided by zero",
                source="karpathy/nn-zero-to-hero, BatchNorm1d",
            ),
            AxisValue(
                name="identity",
                meaning="the input passes unchanged, without weight and bias",
                source="Paddle, batch_norm_kernel.cc (PaddlePaddle/Paddle #11445)",
            ),
        ),
    ),
    Axis(
        name="training_normalizes_with",
        question="which statistics normalise in training",
        code="mean, var = sets.mean(-1, keepdims=True), sets.var(-1, keepdims=True)",
        values=(
            AxisValue(name="batch", meaning="the mean and variance of the batch", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="blended",
                meaning="the running statistics after this batch has entered them",
                source="equinox.nn.BatchNorm with mode='ema'",
            ),
            AxisValue(
                name="running",
                meaning="the running statistics, which the batch leaves as they are",
                source="MXNet, batch_norm.cc with use_global_stats; keras with trainable=False",
            ),
        ),
        rare=RARE["training_normalizes_with"],
    ),
    Axis(
        name="untracked_eval_uses",
        question="which statistics does eval use when none are tracked",
        values=(
            AxisValue(name="batch", meaning="the mean and variance of the batch", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="initial",
                meaning="mean 0 and variance 1",
                source="tinygrad.nn.BatchNorm before tinygrad/tinygrad #6200",
            ),
        ),
    ),
    Axis(
        name="bootstrap",
        question="how do the running statistics start",
        code="running_mean = (1 - momentum) * running_mean + momentum * mean[:, 0]",
        values=(
            AxisValue(name="plain", meaning="from their initial values", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="zero_debiased",
                meaning="from zero, divided by 1 - (1 - weight)^t",
                source="haiku.BatchNorm (ExponentialMovingAverage with zero_debias)",
            ),
            AxisValue(
                name="first_batch",
                meaning="from the first batch",
                source="equinox.nn.BatchNorm with mode='ema'",
            ),
        ),
        mistakes=(
            AxisValue(
                name="sums",
                meaning="from zero, as sums that are divided by a factor where they are read, the sum of their weights",
                source="BVLC/caffe#4885",
            ),
            AxisValue(
                name="sums_undivided",
                meaning="from zero, as the weighed sum of all batches, read without the factor that divides it",
                source="BVLC/caffe#4885: a factor of the file that is not read",
            ),
        ),
    ),
    Axis(
        name="updates",
        question="when are the running statistics updated",
        code="running_mean = (1 - momentum) * running_mean + momentum * mean[:, 0]",
        values=(AxisValue(name="in_training", meaning="once in each call in training", source="torch.nn.BatchNorm2d"),),
        mistakes=(
            AxisValue(name="never", meaning="never: they are never updated", source="paiml/aprender#2166"),
            AxisValue(
                name="twice",
                meaning="twice in each call in training: they are updated twice",
                source="a forward pass that is run once more, as by checkpointing",
            ),
            AxisValue(
                name="swapped",
                meaning="once in each call in training, and mean and variance are swapped",
                source="two buffers in the wrong order",
            ),
            AxisValue(
                name="mean_alone",
                meaning="the mean alone, once in each call in training: the running variance is never updated",
                source="a buffer that is not written back",
            ),
            AxisValue(
                name="variance_alone",
                meaning="the variance alone, once in each call in training: the running mean is never updated",
                source="a buffer that is not written back",
            ),
            AxisValue(
                name="overwrites",
                meaning="in training, and in a new layer weight and bias with them: its output depends on momentum",
                source="microsoft/onnxruntime#29790: arrays of equal values share one buffer",
            ),
            AxisValue(
                name="each_half",
                meaning="once for each part of the batch in training: for its first half, then for its second",
                source="a batch that is worked on in parts, each of which updates",
            ),
            AxisValue(
                name="first_sample",
                meaning="once in each call in training, with the statistics of the first sample",
                source="a kernel that leaves the index of the sample out",
            ),
        ),
        rare=RARE["updates"],
    ),
    Axis(
        name="eval_reads",
        question="which statistics normalise in eval",
        code="x_hat = (sets - running_mean[:, None]) / np.sqrt(running_var[:, None] + eps)",
        values=(AxisValue(name="running", meaning="the running mean and variance", source="torch.nn.BatchNorm2d"),),
        mistakes=(
            AxisValue(
                name="batch",
                meaning="eval uses the batch: its mean and variance",
                source="a mode that is not looked at, as with track_running_stats=False",
            ),
            AxisValue(
                name="as_in_training",
                meaning="the mean and variance of the batch, which then enter the running ones",
                source="a layer that is not told of eval, as a submodule that is no module",
            ),
            AxisValue(
                name="running_then_updated",
                meaning="the running mean and variance, which are then updated in eval, too",
                source="an update that does not look at the mode",
            ),
            AxisValue(
                name="initial",
                meaning="mean 0 and variance 1",
                source="statistics that are not copied into the layer for inference",
            ),
            AxisValue(
                name="minus_eps",
                meaning="the running mean, and running_var - eps: eps is ignored in eval",
                source="facebookresearch/detectron2#3160",
            ),
            AxisValue(
                name="plus_eps",
                meaning="the running mean, and the running variance + eps: eps is added twice in eval",
                source="eps added as the statistics are stored",
            ),
            AxisValue(
                name="deviation",
                meaning="the running mean, and the running variance taken for a deviation: its square",
                source="a parameter of another meaning, as running_std of torch/nn",
            ),
            AxisValue(
                name="swapped",
                meaning="mean and variance are swapped: the running variance, and the size of the running mean",
                source="two buffers in the wrong order",
            ),
        ),
        rare=RARE["eval_reads"],
    ),
    CENTRE,
    replace(EPS_VALUE, mistakes=(*EPS_VALUE.mistakes, _IGNORED_IN_TRAINING)),
    AFFINE,
    FOLLOWED_BY,
)
