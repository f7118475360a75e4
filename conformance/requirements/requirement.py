"""The catalogue: what is required of an implementation, where that comes from, and how it is judged.

Identifiers are stable: a number is never used again for another requirement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUP_NORM_PAPER: Final = "Wu and He (2018), arXiv:1803.08494"
BATCH_NORM_PAPER: Final = "Ioffe and Szegedy (2015), arXiv:1502.03167"
TORCH_GROUP_NORM: Final = "torch 2.13, https://docs.pytorch.org/docs/2.13/generated/torch.nn.GroupNorm.html"
TORCH_BATCH_NORM: Final = "torch 2.13, https://docs.pytorch.org/docs/2.13/generated/torch.nn.BatchNorm2d.html"
IEEE: Final = "IEEE 754-2019"
CHAIN_RULE: Final = "the chain rule"
TORCH_MODULE: Final = "torch 2.13, https://docs.pytorch.org/docs/2.13/generated/torch.nn.Module.html"
PURE_FUNCTION: Final = "data-apis array API standard 2024.12, design topics: copy-view behaviour and mutability"


#: What a layer may be asked in, the usual type first.
DTYPES: Final = ("float32", "float64", "float16", "bfloat16")
#: Those with digits enough to tell a setting from one that is a hundred thousandth off.
FULL: Final = DTYPES[:2]


@dataclass(frozen=True)
class Requirement:
    """One sentence that holds of a conforming implementation.

    ``judged_by`` names the rule: ``axis`` (the surviving values of ``axis``), ``values`` (every result
    lies within the bound of the surviving semantics), ``constant`` (the same, and it is told how often the bias
    comes out bit for bit), ``answer`` (the same, or a refusal), ``precision`` (the type given is the type computed
    in), ``setting`` (the number given as ``setting`` is the number used), ``refusal`` (every case is refused),
    ``unmodified`` (no call changes its input or hands out its memory), ``output_type`` (the output is of the
    input's type).
    """

    id: str
    layer: str
    title: str
    statement: str
    source: str
    judged_by: str
    axis: str | None = None
    setting: str | None = None
    dtypes: tuple[str, ...] = DTYPES
    relation: str | None = None


def _axis(number: str, layer: str, axis: str, title: str, statement: str, source: str) -> Requirement:
    return Requirement(number, layer, title, statement, source, "axis", axis=axis)


def _group(
    number: str, title: str, statement: str, source: str, judged_by: str, setting: str | None = None
) -> Requirement:
    dtypes = FULL if setting else DTYPES
    return Requirement(number, "group_norm", title, statement, source, judged_by, setting=setting, dtypes=dtypes)


def _batch(
    number: str, title: str, statement: str, source: str, judged_by: str, setting: str | None = None
) -> Requirement:
    dtypes = FULL if setting else DTYPES
    return Requirement(number, "batch_norm", title, statement, source, judged_by, setting=setting, dtypes=dtypes)


REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    _axis(
        "GN-01", "group_norm", "eps_placement", "eps placement",
        "eps is added to the variance, inside the square root.", f"{GROUP_NORM_PAPER}, equation 2",
    ),
    _axis(
        "GN-02", "group_norm", "grouping", "grouping",
        "Group g holds the adjacent channels g * C/G to (g + 1) * C/G - 1.", f"{GROUP_NORM_PAPER}, equation 7",
    ),
    _axis(
        "GN-03", "group_norm", "variance", "biased variance",
        "The variance that normalises divides by n.", f"{GROUP_NORM_PAPER}, equation 2; {TORCH_GROUP_NORM}",
    ),
    _axis(
        "GN-04", "group_norm", "affine_shape", "affine per channel",
        "Weight and bias hold one value for each channel.", f"{GROUP_NORM_PAPER}, equation 6; {TORCH_GROUP_NORM}",
    ),
    _group(
        "GN-05", "eps as given",
        "The eps given is the eps used, to 1e-5 of itself in float32 and 1e-6 in float64.",
        TORCH_GROUP_NORM, "setting", "eps",
    ),
    _group(
        "GN-06", "every group count", "The same holds for G = 1, for G = C and between.",
        f"{GROUP_NORM_PAPER}, section 3.1", "values",
    ),
    _group(
        "GN-07", "every rank", "The same holds for inputs of rank 2 to 5.", TORCH_GROUP_NORM, "values",
    ),
    _group(
        "GN-08", "affine parts", "Weight and bias can each be left out, and what is left out does nothing.",
        TORCH_GROUP_NORM, "values",
    ),
    _group(
        "GN-09", "training = eval", "The output does not depend on the mode.", TORCH_GROUP_NORM, "values",
    ),
    _group(
        "GN-10", "batch independence", "A sample's output does not depend on the other samples.",
        f"{GROUP_NORM_PAPER}, section 3", "values",
    ),
    _group(
        "GN-11", "one value per group", "A group of one value gives the bias, whatever the batch size.",
        f"{GROUP_NORM_PAPER}, equation 2 with m = 1", "values",
    ),
    _group(
        "GN-12", "large mean", "The error stays within the bound of one-pass statistics, whatever the mean.",
        "Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance", "values",
    ),
    _group(
        "GN-13", "no samples", "A batch of no samples gives an output of no samples.", TORCH_GROUP_NORM, "values",
    ),
    _group(
        "GN-14", "no positions", "A spatial size of zero gives an empty output.", TORCH_GROUP_NORM, "values",
    ),
    _group(
        "GN-15", "indivisible groups refused", "C not divisible by G is refused before any output.",
        TORCH_GROUP_NORM, "refusal",
    ),
    _group(
        "GN-16", "wrong channel count refused", "An input whose channel count is not the layer's is refused.",
        TORCH_GROUP_NORM, "refusal",
    ),
    _group(
        "GN-17", "input unmodified",
        "A call changes neither its input nor its parameters, and its output lies in memory of its own.",
        PURE_FUNCTION, "unmodified",
    ),
    Requirement(
        "GN-18", "group_norm", "float64 honoured", "Input of type float64 is computed in float64.",
        "IEEE 754-2019, section 5.1: results are correct to the destination format", "precision", dtypes=("float64",),
    ),
    # In float32, the type that new layers have: in which type else their state lives is another question.
    Requirement(
        "GN-19", "group_norm", "initial parameters", "A new layer has weight 1 and bias 0.",
        TORCH_GROUP_NORM, "values", dtypes=("float32",),
    ),
    _group(
        "GN-20", "output type", "The output has the type of the input.",
        "data-apis array API standard 2024.12, type promotion rules", "output_type",
    ),
    _group(
        "GN-21", "found by exploration", "Inputs on which exploration once found a departure give results in bounds.",
        TORCH_GROUP_NORM, "values",
    ),
    Requirement(
        "GN-22", "group_norm", "same as InstanceNorm",
        "With a group a channel, the framework's own InstanceNorm agrees.",
        f"{GROUP_NORM_PAPER}, section 3.1", "kin", relation="groups = C", dtypes=FULL,
    ),
    Requirement(
        "GN-23", "group_norm", "same as LayerNorm",
        "With one group and no affine parts, the framework's own LayerNorm agrees.",
        f"{GROUP_NORM_PAPER}, section 3.1", "kin", relation="groups = 1", dtypes=FULL,
    ),
    _group(
        "GN-24", "long reductions", "The error stays within the bound of one-pass statistics, however many values "
        "a group has.", "Higham (2002), Accuracy and Stability of Numerical Algorithms, section 4.2", "values",
    ),
    _group(
        "GN-25", "gradient of the input", "dx is the derivative through mean and variance.",
        f"{CHAIN_RULE}, of {GROUP_NORM_PAPER}, equations 1 and 2", "values",
    ),
    _group(
        "GN-26", "gradient of the weight", "dweight sums dy times the normalised x over samples and positions.",
        f"{CHAIN_RULE}, of {GROUP_NORM_PAPER}, equation 6", "values",
    ),
    _group(
        "GN-27", "gradient of the bias", "dbias sums dy over samples and positions.",
        f"{CHAIN_RULE}, of {GROUP_NORM_PAPER}, equation 6", "values",
    ),
    _group(
        "GN-28", "NaN and infinity contained",
        "A value that is no number, in x or in dy, reaches its own group and parameters and nothing else.",
        f"{IEEE}, section 6.2; {GROUP_NORM_PAPER}, equation 2", "values",
    ),
    _group(
        "GN-29", "constant input", "A constant input of any magnitude gives the bias, and finite gradients.",
        f"{GROUP_NORM_PAPER}, equation 2 with a variance of 0", "constant",
    ),
    _group(
        "GN-30", "magnitudes at the ends of the range",
        "The same holds as long as the squares fit the type that sums them, and for subnormal numbers.",
        f"{GROUP_NORM_PAPER}, equations 1 and 2", "values",
    ),
    _group(
        "GN-31", "gradients of no values", "Without samples or positions dx is empty, dweight and dbias are 0.",
        f"{CHAIN_RULE}: an empty sum", "values",
    ),
    _group("GN-32", "eps of zero", "eps=0 is taken as it is.", TORCH_GROUP_NORM, "values"),
    _group(
        "GN-33", "negative eps", "A negative eps is added as it is (NaN where var + eps < 0), or refused.",
        f"{GROUP_NORM_PAPER}, equation 2", "answer",
    ),
    _group(
        "GN-34", "other ranks", "An input of a rank that the layer is not made for is refused, or normalised alike.",
        TORCH_GROUP_NORM, "answer",
    ),
    Requirement(
        "GN-35", "group_norm", "eps below the resolution",
        "An eps that float16 rounds to 0 keeps a constant input from NaN all the same: it belongs to float32 sums.",
        f"{GROUP_NORM_PAPER}, equation 2", "values", dtypes=("float16",),
    ),
    _axis(
        "BN-01", "batch_norm", "eps_placement", "eps placement",
        "eps is added to the variance, inside the square root.", f"{BATCH_NORM_PAPER}, algorithm 1",
    ),
    _axis(
        "BN-02", "batch_norm", "variance", "biased variance",
        "The variance that normalises in training divides by n.",
        f"{BATCH_NORM_PAPER}, algorithm 1; {TORCH_BATCH_NORM}",
    ),
    _axis(
        "BN-03", "batch_norm", "running_var", "unbiased running variance",
        "The running variance tracks the variance with divisor n - 1.",
        f"{BATCH_NORM_PAPER}, algorithm 2, step 10; {TORCH_BATCH_NORM}",
    ),
    _axis(
        "BN-04", "batch_norm", "momentum_weighs", "momentum weighs the new value",
        "running = (1 - momentum) * running + momentum * batch.", TORCH_BATCH_NORM,
    ),
    _axis(
        "BN-05", "batch_norm", "momentum_none", "momentum None",
        "momentum=None makes the running statistics plain averages of all batches.", TORCH_BATCH_NORM,
    ),
    _axis(
        "BN-06", "batch_norm", "single_value", "one value per channel",
        "Training on one value per channel is refused: it has no variance.",
        "torch 2.13, torch.nn.functional.batch_norm (pytorch/pytorch #2961)",
    ),
    _axis(
        "BN-07", "batch_norm", "training_normalizes_with", "training uses the batch",
        "In training the mean and variance of the batch normalise.", f"{BATCH_NORM_PAPER}, algorithm 1",
    ),
    _axis(
        "BN-08", "batch_norm", "untracked_eval_uses", "eval untracked",
        "Without tracked statistics, eval normalises with those of the batch.", TORCH_BATCH_NORM,
    ),
    _axis(
        "BN-09", "batch_norm", "bootstrap", "start of the running statistics",
        "The running statistics start from their initial values.", TORCH_BATCH_NORM,
    ),
    _batch(
        "BN-10", "eps as given",
        "The eps given is the eps used, to 1e-5 of itself in float32 and 1e-6 in float64.",
        TORCH_BATCH_NORM, "setting", "eps",
    ),
    _batch(
        "BN-11", "momentum as given",
        "The momentum given is the momentum used, to 1e-4 of itself in float32 and 1e-6 in float64.",
        TORCH_BATCH_NORM, "setting", "momentum",
    ),
    _batch(
        "BN-12", "every rank", "The same holds for every rank that the layer is made for.",
        TORCH_BATCH_NORM, "values",
    ),
    _batch(
        "BN-13", "affine parts", "Weight and bias can each be left out, and what is left out does nothing.",
        TORCH_BATCH_NORM, "values",
    ),
    _batch(
        "BN-14", "running statistics accumulate",
        "After several training steps the running statistics are the blend of all of them.", TORCH_BATCH_NORM, "values",
    ),
    _batch(
        "BN-15", "eval uses running statistics",
        "In eval the running statistics normalise, and stay as they are.", f"{BATCH_NORM_PAPER}, algorithm 2", "values",
    ),
    _batch(
        "BN-16", "training ignores history",
        "The training output depends neither on momentum nor on earlier state.",
        f"{BATCH_NORM_PAPER}, algorithm 1", "values",
    ),
    _batch(
        "BN-17", "large mean", "The error stays within the bound of one-pass statistics, whatever the mean.",
        "Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance", "values",
    ),
    _batch(
        "BN-18", "no samples",
        "A batch of no samples gives an output of no samples and leaves the running statistics as they were.",
        "torch 2.13; pytorch/pytorch #12013", "values",
    ),
    _batch(
        "BN-19", "no positions",
        "A spatial size of zero gives an empty output and leaves the running statistics as they were.",
        "torch 2.13; pytorch/pytorch #12013", "values",
    ),
    _batch(
        "BN-20", "wrong channel count refused", "An input whose channel count is not the layer's is refused.",
        TORCH_BATCH_NORM, "refusal",
    ),
    _batch(
        "BN-21", "input unmodified",
        "A call changes neither its input nor its parameters, and its output lies in memory of its own.",
        PURE_FUNCTION, "unmodified",
    ),
    Requirement(
        "BN-22", "batch_norm", "float64 honoured", "Input of type float64 is computed in float64.",
        "IEEE 754-2019, section 5.1: results are correct to the destination format", "precision", dtypes=("float64",),
    ),
    Requirement(
        "BN-23", "batch_norm", "initial parameters and statistics",
        "A new layer has weight 1, bias 0, running mean 0 and running variance 1.",
        TORCH_BATCH_NORM, "values", dtypes=("float32",),
    ),
    _batch(
        "BN-24", "output type", "The output has the type of the input.",
        "data-apis array API standard 2024.12, type promotion rules", "output_type",
    ),
    Requirement(
        "BN-26", "batch_norm", "float64 statistics",
        "A new layer made for float64 holds its running statistics in float64.",
        "data-apis array API standard 2024.12, type promotion rules", "values", dtypes=("float64",),
    ),
    _batch(
        "BN-32", "long reductions", "The error stays within the bound of one-pass statistics, however many values "
        "a channel has.", "Higham (2002), Accuracy and Stability of Numerical Algorithms, section 4.2", "values",
    ),
    _batch(
        "BN-33", "gradient of the input", "In training dx is the derivative through the batch's mean and variance.",
        f"{BATCH_NORM_PAPER}, section 3, the six equations of the gradient", "values",
    ),
    _batch(
        "BN-34", "gradient of the weight", "dweight sums dy times the normalised x over samples and positions.",
        f"{BATCH_NORM_PAPER}, section 3, the six equations of the gradient", "values",
    ),
    _batch(
        "BN-35", "gradient of the bias", "dbias sums dy over samples and positions.",
        f"{BATCH_NORM_PAPER}, section 3, the six equations of the gradient", "values",
    ),
    _batch(
        "BN-36", "gradients in eval",
        "In eval the running statistics are constants: dx = dy * weight / sqrt(running_var + eps).",
        f"{CHAIN_RULE}, of {BATCH_NORM_PAPER}, algorithm 2", "values",
    ),
    _batch(
        "BN-37", "NaN and infinity contained",
        "A value that is no number reaches its own channel, its statistics and parameters, and nothing else.",
        f"{IEEE}, section 6.2; {BATCH_NORM_PAPER}, algorithm 1", "values",
    ),
    _batch(
        "BN-38", "constant input", "A constant batch of any magnitude gives the bias, and finite gradients.",
        f"{BATCH_NORM_PAPER}, algorithm 1 with a variance of 0", "constant",
    ),
    _batch(
        "BN-39", "magnitudes at the ends of the range",
        "The same holds as long as the squares fit the type that sums them, and for subnormal numbers.",
        f"{BATCH_NORM_PAPER}, algorithm 1", "values",
    ),
    _batch(
        "BN-40", "gradients of no values", "Without samples or positions dx is empty, dweight and dbias are 0.",
        f"{CHAIN_RULE}: an empty sum", "values",
    ),
    _batch("BN-41", "eps of zero", "eps=0 is taken as it is.", TORCH_BATCH_NORM, "values"),
    _batch(
        "BN-42", "negative eps", "A negative eps is added as it is (NaN where var + eps < 0), or refused.",
        f"{BATCH_NORM_PAPER}, algorithm 1", "answer",
    ),
    _batch(
        "BN-43", "other ranks", "An input of a rank that the layer is not made for is refused, or normalised alike.",
        TORCH_BATCH_NORM, "answer",
    ),
    _batch(
        "BN-44", "given variances",
        "In eval a running variance of 0 counts as it is, an infinite one gives the bias, one below -eps NaN.",
        f"{BATCH_NORM_PAPER}, algorithm 2", "values",
    ),
    Requirement(
        "BN-45", "batch_norm", "eps below the resolution",
        "An eps that float16 rounds to 0 keeps a constant batch from NaN all the same: it belongs to float32 sums.",
        f"{BATCH_NORM_PAPER}, algorithm 1", "values", dtypes=("float16",),
    ),
    _batch(
        "BN-25", "found by exploration", "Inputs on which exploration once found a departure give results in bounds.",
        TORCH_BATCH_NORM, "values",
    ),
    _batch(
        "BN-27", "reset", "A reset leaves the running statistics of a new layer: mean 0, variance 1, no batches.",
        "torch 2.13, reset_running_stats of the BatchNorm layers", "values",
    ),
    _batch(
        "BN-28", "save and load",
        "A new layer that reads the saved state goes on as the old one would: parameters, running statistics and, "
        "for momentum=None, the number of batches.",
        f"{TORCH_MODULE}#torch.nn.Module.state_dict", "values",
    ),
    _batch(
        "BN-29", "freezing",
        "Freezing takes weight and bias out of training and changes no result: the batch still normalises in training "
        "and still enters the running statistics.",
        f"{TORCH_MODULE}#torch.nn.Module.requires_grad_", "values",
    ),
    _batch(
        "BN-30", "momentum changed", "A momentum set between two calls is used from then on.",
        TORCH_BATCH_NORM, "values",
    ),
    _batch(
        "BN-31", "trainable parameters", "Weight and bias are trainable, the running statistics never are.",
        f"{BATCH_NORM_PAPER}, algorithm 2; {TORCH_MODULE}#torch.nn.Module.register_buffer", "values",
    ),
)  # fmt: skip

BY_ID: Final = {requirement.id: requirement for requirement in REQUIREMENTS}

#: Those about gradients of ordinary inputs; what departs there is not told again of special ones.
GRADIENT_REQUIREMENTS: Final = frozenset({"GN-25", "GN-26", "GN-27", "BN-33", "BN-34", "BN-35", "BN-36"})
