"""The table: every remedy with its cause, and what nothing mends."""

from __future__ import annotations

from typing import Any, Final, Literal

from normgauge.conformance.remedies import causes, in_keras, in_mlx, inputs, parameters, state, statistics, types
from normgauge.conformance.remedies.remedy import Advice, Apply, NotMended, Remedy

_EPS_OUTSIDE: Final = (
    "no setting makes the two agree: sqrt(var) + eps = sqrt(var + eps') holds for one variance only, and each set of "
    "values has another"
)
_EPS_AS_FLOOR: Final = (
    "no setting makes the two agree: max(var, eps) = var + eps' holds for one variance only, and each set of values "
    "has another"
)
_SINGLE: Final = "in training, raise an error in your own code if N * positions is 1"
_CHANNELS: Final = "compare the channel count of the input with the layer's before the call, and raise if they differ"
_EMPTY: Final = "call the layer only on inputs that have values; for an empty input, the output is empty"
_EMPTY_BATCH: Final = f"{_EMPTY} and nothing else changes"
_EMPTY_BACKWARD: Final = f"{_EMPTY}, dx is empty, and dweight and dbias are 0"
_FLOAT32: Final = (
    "keep the layer in float32, call it on the input in float32, and cast the output back; the parameters must not "
    "stay in half precision"
)
_SHIFT: Final = (
    "call the layer on x - s, where s is a number near the mean of each group of each sample, such as the mean; the "
    "output does not depend on s"
)
_SHIFT_IN_TRAINING: Final = (
    "in training, call the layer on x - s, where s is a number near the mean of each channel, such as the mean; "
    "subtract s from running_mean before the call, and add s after the call"
)
_SHIFT_ONCE: Final = (
    "if all means are near one number s: call the layer on x - s, in eval too; start from running_mean - s; add s at "
    "the end"
)
_MOVED: Final = (
    "to convert a trained layer, keep running_var: with the same running_var, both layers give the same results in eval"
)
_TINY: Final = "pass eps=1e-300: the layer accepts it, and it is negligible beside any variance"
_PERMUTE: Final = (
    "permute the channels of x, weight and bias by p = arange(C).reshape(G, C//G).T.ravel(); where channels are last, "
    "that is x[..., p]; permute those of the output by argsort(p)"
)
_RESCALE: Final = (
    "for torch's running variance: after every training step, set running_var to c + (running_var - c) * n/(n - 1); c "
    "is (1 - w) * running_var before the step, w the weight of the new value, n = N * positions"
)
_RESCALE_ONCE: Final = (
    "if every batch has the same n: start from running_var * (n - 1)/n, and multiply by n/(n - 1) after training; this "
    "keeps the part (1 - w)^T of the initial value"
)


def _of(
    kind: Literal["group_norm", "batch_norm"], *keys: str, apply: Apply, sentence: str, **limits: Any
) -> list[Remedy]:
    return [Remedy(layer=kind, key=key, sentence=sentence, apply=apply, **limits) for key in keys]


def _never(kind: Literal["group_norm", "batch_norm"], *keys: str, sentence: str, **limits: Any) -> list[NotMended]:
    return [NotMended(layer=kind, key=key, sentence=sentence, **limits) for key in keys]


_TF: Final[dict[str, Any]] = {
    "sentence": (
        "use the TensorFlow backend, which computes float64 in float64; this backend does not, with any dtype or floatx"
    ),
    "cause": causes.COMPUTES_IN_FLOAT32,
    "apply": types.instead(backend="tensorflow", mode="eager"),
    "packages": ("keras",),
}
_HALF: Final[dict[str, Any]] = {
    "sentence": _FLOAT32,
    "cause": causes.SUMS_IN_HALF,
    "apply": types.in_float32,
    "dtypes": ("float16", "bfloat16"),
    "packages": ("torch", "mlx", "lucid"),
}

GROUP_NORM: Final[tuple[Advice, ...]] = (
    *_never("group_norm", "eps_placement=outside_sqrt", sentence=_EPS_OUTSIDE),
    *_never("group_norm", "eps_placement=max_with_variance", sentence=_EPS_AS_FLOOR),
    *_of("group_norm", "variance=unbiased", apply=parameters.divisor_made_up_for,
         sentence="for n values in a set, give the layer eps * n/(n - 1) and weight * sqrt(n/(n - 1))"),
    *_of("group_norm", "grouping=interleaved", apply=types.instead(options="pytorch_compatible=True"),
         sentence="pass pytorch_compatible=True", packages=("mlx",), dtypes=("float32", "float16", "bfloat16")),
    *_of("group_norm", "grouping=interleaved", apply=parameters.permuted, sentence=_PERMUTE),
    *_of("group_norm", "affine_shape=per_group", apply=parameters.own_affine,
         sentence="construct the layer without weight and bias, and apply one of each per channel to its output"),
    *_of("group_norm", "accuracy=one_pass", apply=types.instead(options="use_fast_variance=False"),
         sentence="pass use_fast_variance=False", packages=("flax",)),
    *_of("group_norm", "accuracy=one_pass", apply=types.instead(backend="tensorflow"),
         sentence="use the TensorFlow backend", packages=("keras",)),
    *_of("group_norm", "accuracy=one_pass", apply=types.instead(backend="jax"), sentence="use the JAX backend",
         packages=("keras",)),
    *_of("group_norm", "accuracy=one_pass", apply=types.instead(mode="eager"), sentence="call x.contiguous() first",
         packages=("torch",), modes=("channels_last", "channels_last_3d")),
    *_of("group_norm", "GN-11", cause=causes.ONE_SAMPLE_REFUSED, apply=inputs.twice, packages=("torch",),
         sentence="give a batch of one sample twice, and keep the first of the two outputs"),
    *_of("group_norm", "GN-12", "GN-21", cause=causes.LARGE_MEAN, apply=statistics.shifted_groups,
         sentence=_SHIFT, packages=("keras",)),
    *_of("group_norm", "GN-13", "GN-14", cause=causes.EMPTY, apply=inputs.empty_skipped, sentence=_EMPTY),
    *_of("group_norm", "GN-16", cause=causes.CHANNELS_ACCEPTED, apply=inputs.other_channels_refused,
         sentence=_CHANNELS),
    *_of("group_norm", "GN-18", cause=causes.COMPUTES_IN_FLOAT32, apply=types.plain_and_permuted,
         packages=("mlx",), options=("pytorch_compatible=True",),
         sentence=f"leave out pytorch_compatible, and {_PERMUTE}"),
    *_of("group_norm", "GN-18", **_TF),
    *_of("group_norm", "GN-22", cause=causes.COMPUTES_IN_FLOAT32, apply=types.in_place_of_its_kin,
         packages=("mlx",), dtypes=("float64",),
         sentence="in float64 use GroupNorm(dims, dims) in place of InstanceNorm(dims), with the same eps and affine"),
    *_of("group_norm", "GN-23", cause=causes.COMPUTES_IN_FLOAT32, apply=types.in_place_of_its_kin,
         packages=("mlx",), dtypes=("float64",),
         sentence="in float64 use GroupNorm(1, dims) in place of LayerNorm(dims) on inputs (N, dims), with the same "
                  "eps and affine"),
    *_of("group_norm", "GN-24", "GN-30", "GN-35", **_HALF),
    *_of("group_norm", "GN-31", cause=causes.EMPTY, apply=inputs.empty_skipped, sentence=_EMPTY_BACKWARD),
    *_of("group_norm", "GN-32", cause=causes.EPS_ZERO_REFUSED, apply=parameters.tiny_eps,
         sentence=_TINY, packages=("mlx",)),
    *_of("group_norm", "GN-37", cause=causes.PARAMETERS_KEPT, apply=state.given_anew,
         sentence="construct a new layer with the new values"),
)  # fmt: skip

BATCH_NORM: Final[tuple[Advice, ...]] = (
    *_never("batch_norm", "eps_placement=outside_sqrt", sentence=_EPS_OUTSIDE),
    *_never("batch_norm", "eps_placement=max_with_variance", sentence=_EPS_AS_FLOOR),
    *_of("batch_norm", "variance=unbiased", apply=parameters.divisor_made_up_for,
         sentence="in training, for n values in a channel, give the layer eps * n/(n - 1) and "
                  "weight * sqrt(n/(n - 1))"),
    *_of("batch_norm", "momentum_weighs=old", apply=statistics.one_minus_momentum, sentence="pass 1 - momentum"),
    *_of("batch_norm", "momentum_none=fixed", "momentum_none=refused", apply=statistics.average_of_all,
         sentence="for a plain average, set momentum to 1/t before training step t"),
    *_of("batch_norm", "running_var=biased", apply=statistics.moved_as_it_is, sentence=_MOVED),
    *_of("batch_norm", "running_var=biased", apply=statistics.variance_rescaled, sentence=_RESCALE),
    *_of("batch_norm", "running_var=biased", apply=statistics.variance_rescaled_at_the_end, sentence=_RESCALE_ONCE),
    *_of("batch_norm", "single_value=shift", "single_value=nan", "single_value=identity",
         apply=inputs.single_values_refused, sentence=_SINGLE),
    *_never("batch_norm", "training_normalizes_with=blended",
            sentence="no setting makes the two agree: the layer does not give the statistics of the batch alone"),
    *_never("batch_norm", "training_normalizes_with=running",
            sentence="no call makes the two agree: the layer is frozen, and must be taken out of that state"),
    *_of("batch_norm", "untracked_eval_uses=initial", apply=statistics.untracked_in_training,
         sentence="if no statistics are tracked, call the layer in training mode"),
    *_of("batch_norm", "bootstrap=zero_debiased", apply=statistics.debiasing_undone,
         sentence="after T training steps of weight w, multiply the running statistics by 1 - (1 - w)^T; then add "
                  "(1 - w)^T times the initial ones"),
    *_of("batch_norm", "bootstrap=first_batch", apply=statistics.start_given_back,
         sentence="after T training steps of weight w, add (1 - w)^T * (initial - first) to the running statistics; "
                  "`first` has those after one step"),
    *_of("batch_norm", "accuracy=one_pass", apply=types.instead(options="use_fast_variance=False"),
         sentence="pass use_fast_variance=False", packages=("flax",)),
    *_of("batch_norm", "accuracy=one_pass", apply=types.instead(backend="tensorflow"),
         sentence="use the TensorFlow backend", packages=("keras",)),
    *_of("batch_norm", "accuracy=one_pass", apply=types.instead(backend="jax"), sentence="use the JAX backend",
         packages=("keras",)),
    *_of("batch_norm", "BN-12", "BN-25", cause=causes.FLAT_REFUSED, apply=inputs.with_a_position,
         packages=("lucid",), classes=("BatchNorm1d",),
         sentence="give an input of shape (N, C) as (N, C, 1), and drop that axis of the output"),
    *_of("batch_norm", "BN-17", cause=causes.LARGE_MEAN, apply=statistics.shifted_channels,
         sentence=_SHIFT_IN_TRAINING, packages=("keras",)),
    *_of("batch_norm", "BN-17", cause=causes.LARGE_MEAN, apply=statistics.shifted_once,
         sentence=_SHIFT_ONCE, packages=("keras",)),
    *_of("batch_norm", "BN-25", cause=causes.LARGE_MEAN, apply=statistics.shifted_channels,
         sentence=_SHIFT_IN_TRAINING, packages=("keras",),
         modes=("eager",)),
    *_of("batch_norm", "BN-25", cause=causes.LARGE_MEAN, apply=statistics.kept_and_shifted_channels,
         packages=("keras",), modes=("mask",),
         sentence=f"give the layer the positions that the mask keeps, x[mask], and no mask; {_SHIFT_IN_TRAINING}"),
    *_of("batch_norm", "BN-18", "BN-19", "BN-48", cause=causes.EMPTY, apply=inputs.empty_skipped,
         sentence=_EMPTY_BATCH),
    *_of("batch_norm", "BN-20", cause=causes.CHANNELS_ACCEPTED, apply=inputs.other_channels_refused,
         sentence=_CHANNELS),
    *_of("batch_norm", "BN-22", **_TF),
    *_of("batch_norm", "BN-24", cause=causes.OTHER_TYPE, apply=types.output_cast,
         sentence="cast the output to the type of the input"),
    *_of("batch_norm", "BN-26", cause=causes.NARROW_STATISTICS, apply=statistics.given_statistics, packages=("flax",),
         sentence="set the running statistics to float64 arrays yourself, before the first step"),
    Remedy(layer="batch_norm", key="BN-28", cause=causes.NOT_SAVED, packages=("mlx",), dtypes=("float64",),
           sentence="save float64 weights as .npz: .safetensors has no float64",
           natively={"save_load": in_mlx.saved_as_npz}),
    Remedy(layer="batch_norm", key="BN-29", cause=causes.FROZEN_IS_EVAL, packages=("keras",),
           sentence="set trainable of gamma and beta to False, not that of the layer or of the model",
           natively={"freeze": in_keras.freeze_parameters, "unfreeze": in_keras.unfreeze_parameters,
                     "freeze_model": in_keras.freeze_parameters, "unfreeze_model": in_keras.unfreeze_parameters}),
    Remedy(layer="batch_norm", key="BN-30", cause=causes.MOMENTUM_KEPT, packages=("mlx",), modes=("compile",),
           sentence="after the change, compile another function object, such as a new lambda; the same one is not "
                    "traced again",
           natively={"momentum": in_mlx.compile_anew}),
    *_of("batch_norm", "BN-30", cause=causes.MOMENTUM_KEPT, apply=state.given_anew, packages=("mlx",),
         sentence="construct a new layer with the other momentum, and give it the old one's parameters and statistics"),
    Remedy(layer="batch_norm", key="BN-31", cause=causes.OTHERWISE_TRAINABLE, packages=("mlx",),
           sentence='after unfreeze() freeze the statistics again: freeze(keys=["running_mean", "running_var"], '
                    "recurse=False) of every BatchNorm",
           natively={"unfreeze": in_mlx.unfreeze, "unfreeze_model": in_mlx.unfreeze}),
    *_of("batch_norm", "BN-31", cause=causes.OTHERWISE_TRAINABLE, apply=state.unfrozen_twice,
         packages=("keras",), backends=("tensorflow",),
         sentence="set trainable of the model to False and then to True"),
    *_of("batch_norm", "BN-32", "BN-39", "BN-45", **_HALF),
    *_of("batch_norm", "BN-40", cause=causes.EMPTY, apply=inputs.empty_skipped, sentence=_EMPTY_BACKWARD),
    *_of("batch_norm", "BN-41", cause=causes.EPS_ZERO_REFUSED, apply=parameters.tiny_eps,
         sentence=_TINY, packages=("mlx", "torch")),
    *_of("batch_norm", "BN-47", cause=causes.PARAMETERS_KEPT, apply=state.given_anew,
         sentence="construct a new layer with the new values, and give it whatever the old one has beside them"),
)  # fmt: skip
