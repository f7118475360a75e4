"""The axes that both layers have."""

from __future__ import annotations

from typing import Final

from normgauge.oracle.axis import Axis, AxisValue

EPS_PLACEMENT: Final = Axis(
    name="eps_placement",
    question="where does eps stand",
    code="x_hat = (sets - mean) / np.sqrt(var + eps)",
    values=(
        AxisValue(name="inside_sqrt", meaning="y = (x - mean) / sqrt(var + eps)", source="torch.nn.GroupNorm"),
        AxisValue(
            name="outside_sqrt",
            meaning="y = (x - mean) / (sqrt(var) + eps)",
            source="taokong/group_normalization (issue #1); documented by mlx.nn up to 0.31.2",
        ),
        AxisValue(
            name="max_with_variance",
            meaning="y = (x - mean) / sqrt(max(var, eps))",
            source="vacancy/Synchronized-BatchNorm-PyTorch, _compute_mean_std",
        ),
    ),
    mistakes=(
        AxisValue(
            name="no_root",
            meaning="y = (x - mean) / (var + eps): the root is forgotten",
            source="a classic mistake: the variance taken for the deviation",
        ),
        AxisValue(
            name="after_reciprocal",
            meaning="y = (x - mean) * (1 / sqrt(var) + eps)",
            source="a parenthesis that ends one term too early",
        ),
    ),
)

VARIANCE: Final = Axis(
    name="variance",
    question="which variance normalises",
    code="var = np.square(sets - mean).mean(-1, keepdims=True)",
    values=(
        AxisValue(name="biased", meaning="the sum of squares is divided by n", source="torch.nn.BatchNorm2d"),
        AxisValue(
            name="unbiased",
            meaning="the sum of squares is divided by n - 1",
            source="taokong/group_normalization: x.std(dim=2)",
        ),
    ),
    mistakes=(
        AxisValue(
            name="about_zero",
            meaning="the mean of x squared: squares about zero, not about the mean",
            source="E[x^2] without - E[x]^2, the first half of the one-pass formula",
        ),
        AxisValue(
            name="of_parts",
            meaning="the mean of the variances of its parts: of each channel of a group, of each sample of a batch",
            source="averages of the statistics of parts, as of several workers",
        ),
        AxisValue(
            name="of_halves",
            meaning="the mean of the variances of its two halves: of parts whose means may differ",
            source="partial variances that are averaged, without the term of how far their means lie apart",
        ),
        AxisValue(
            name="of_quarters",
            meaning="the mean of the variances of its four quarters: of parts whose means may differ",
            source="partial variances that are averaged, without the term of how far their means lie apart",
        ),
        AxisValue(
            name="zeros_to_a_power_of_two",
            meaning="zeros up to the next power of two enter the squares about the mean, which n divides",
            source="triton-lang/triton#9838: masked lanes are 0 - mean when they are squared",
        ),
        AxisValue(
            name="n_plus_one",
            meaning="the sum of squares is divided by n + 1",
            source="a count that starts at one",
        ),
        AxisValue(
            name="n_minus_channels",
            meaning="the sum of squares is divided by n - C",
            source="mlpack/mlpack#2474: the degrees of freedom of all channels taken from one",
        ),
        AxisValue(
            name="n_rounded_up_to_4",
            meaning="the sum of squares is divided by the next multiple of 4, the mean is right",
            source="a padded length in place of the length",
        ),
    ),
    rare=(
        AxisValue(
            name="of_blocks_of_1024",
            meaning="the mean of the variances of blocks of 1,024, from 2,048 values on where 1,024 divides them: how "
            "far the means of the blocks lie apart is left out",
            source="Welford's merge of two parts, without the term of their means",
        ),
    ),
)


CENTRE: Final = Axis(
    name="centre",
    question="what is subtracted from x",
    code="mean = sets.mean(-1, keepdims=True)",
    values=(AxisValue(name="mean", meaning="the mean is subtracted", source="torch.nn.GroupNorm"),),
    mistakes=(
        AxisValue(
            name="not_subtracted",
            meaning="nothing: the mean is not subtracted, y = x / sqrt(var + eps)",
            source="the mean left out of the numerator alone",
        ),
        AxisValue(
            name="root_mean_square",
            meaning="nothing, in the variance neither: y = x / sqrt(mean(x^2) + eps), by the root mean square",
            source="RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467) under another name",
        ),
        AxisValue(
            name="over_rounded_n",
            meaning="the sum divided by the next multiple of 4 in place of n; squares are taken about that",
            source="a padded length in place of the length",
        ),
    ),
    rare=(
        AxisValue(
            name="over_n_in_half",
            meaning="the mean, with the number of values held in half precision (float16), for the variance, too: from "
            "2,049 values on another number divides",
            source="pytorch/executorch#16727",
        ),
        AxisValue(
            name="over_n_in_16_bits",
            meaning="the sum divided by the number of values in 16 bits, which begins anew: another number divides "
            "from 65,537 values on; squares are taken about that",
            source="torch/cunn#298",
        ),
    ),
)

EPS_VALUE: Final = Axis(
    name="eps_value",
    question="which eps is added",
    code="x_hat = (sets - mean) / np.sqrt(var + eps)",
    values=(AxisValue(name="as_given", meaning="the eps that is given", source="torch.nn.GroupNorm"),),
    mistakes=(
        AxisValue(name="ignored", meaning="none: eps is ignored", source="the argument is taken and not used"),
        AxisValue(
            name="one_millionth", meaning="eps is always 1e-6, whatever is given", source="ggml-org/llama.cpp#8818"
        ),
        AxisValue(
            name="hundred_thousandth",
            meaning="eps is always 1e-5, whatever is given",
            source="a constant in place of the argument",
        ),
        AxisValue(
            name="one_thousandth",
            meaning="eps is always 0.001, whatever is given",
            source="the default of keras.layers.BatchNormalization in place of the argument",
        ),
        AxisValue(
            name="twice",
            meaning="eps is added twice",
            source="added once to the variance as it is computed, and once more under the root",
        ),
        AxisValue(
            name="rooted",
            meaning="the root of eps",
            source="eps taken for a variance that is to be a deviation",
        ),
        AxisValue(name="squared", meaning="the square of eps", source="eps taken for a deviation"),
        AxisValue(
            name="divided_by_n",
            meaning="the eps given, divided by n",
            source="eps added to the sum of squares, before n divides",
        ),
    ),
    rare=(
        AxisValue(
            name="in_half",
            meaning="the eps given, rounded to half precision (float16)",
            source="an argument that is cast with the input: 1e-8 becomes 0",
        ),
    ),
)

AFFINE: Final = Axis(
    name="affine",
    question="what do weight and bias do",
    code="y = x_hat * weight[:, None, None] + bias[:, None, None]",
    values=(
        AxisValue(
            name="scale_then_shift",
            meaning="the weight multiplies, the bias is added after it",
            source="torch.nn.GroupNorm",
        ),
    ),
    mistakes=(
        AxisValue(
            name="ignored", meaning="weight and bias are ignored", source="parameters that are kept and not applied"
        ),
        AxisValue(name="weight_ignored", meaning="the weight is ignored", source="apache/mxnet#9624 (fix_gamma)"),
        AxisValue(name="bias_ignored", meaning="the bias is ignored", source="XiaoMi/mace#262, of the bias of a fold"),
        AxisValue(
            name="bias_first",
            meaning="the bias is added before the weight multiplies: (x_hat + bias) * weight",
            source="a classic mistake in a fold",
        ),
        AxisValue(
            name="weight_plus_one",
            meaning="1 + weight multiplies",
            source="ajbrock/BigGAN-PyTorch, layers.py (ccbn): gain = 1 + gain(y)",
        ),
        AxisValue(
            name="weight_absolute",
            meaning="the absolute value of the weight multiplies",
            source="mapillary/inplace_abn: weight.abs() + eps",
        ),
        AxisValue(
            name="swapped",
            meaning="weight and bias are swapped: the bias multiplies and the weight is added",
            source="two buffers in the wrong order",
        ),
        AxisValue(
            name="next_channel",
            meaning="channel c uses weight and bias of the next channel, c + 1",
            source="an index that is off by one",
        ),
        AxisValue(
            name="first_channel",
            meaning="every channel uses weight and bias of the first channel",
            source="an index of the channel that is left out",
        ),
        AxisValue(
            name="weight_twice",
            meaning="the weight multiplies twice: y = weight^2 * x_hat + bias",
            source="a scale that is applied before and after, as by a fold that is run twice",
        ),
        AxisValue(
            name="reversed",
            meaning="weight and bias are reversed: channel c uses those of channel C - 1 - c",
            source="a wrong index of the channel",
        ),
    ),
    rare=(
        AxisValue(
            name="along_last_axis",
            meaning="weight and bias lie along the last axis where that has C places, and not along the channels",
            source="tensorlayer/TensorLayer#963: NumPy's broadcasting",
        ),
    ),
)

FOLLOWED_BY: Final = Axis(
    name="followed_by",
    question="what follows after the layer",
    code="output = y",
    values=(
        AxisValue(name="nothing", meaning="nothing: weight * x_hat + bias is the output", source="torch.nn.GroupNorm"),
    ),
    mistakes=(
        AxisValue(
            name="silu", meaning="the layer is followed by SiLU: y * sigmoid(y)", source="Oneflow-Inc/oneflow#9387"
        ),
        AxisValue(
            name="relu",
            meaning="the layer is followed by ReLU: max(y, 0)",
            source="an activation that a fused kernel does not leave out",
        ),
    ),
    rare=(
        AxisValue(
            name="at_most_6",
            meaning="the output is at most 6: min(y, 6)",
            source="ReLU6 of mobile networks, without its lower end",
        ),
    ),
)
