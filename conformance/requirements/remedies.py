"""What a port writes instead, for each alternative and for each requirement that says so."""

from __future__ import annotations

from typing import Final

#: What a port writes instead, for each alternative; an implementation's own switch goes before it.
REMEDIES: Final = {
    "eps_placement=outside_sqrt": "there is no equal eps: sqrt(var) + eps = sqrt(var + eps') only at one variance",
    "eps_placement=max_with_variance": "there is no equal eps: use your own formula where var is near eps",
    "grouping=interleaved": (
        "for the canonical result permute the channels of x, weight and bias by "
        "p = arange(C).reshape(G, C//G).T.ravel() (x[..., p] where channels are last), and those of the output by "
        "argsort(p)"
    ),
    "variance=unbiased": (
        "for the canonical result, with n values in a set, give it eps * n/(n - 1) and weight * sqrt(n/(n - 1))"
    ),
    "affine_shape=per_group": "repeat each group's weight and bias C/G times",
    "running_var=biased": (
        "for the same eval output move running_var as it is; only to have what the other layer would have tracked, "
        "multiply it by n/(n - 1), n = N * spatial size of a training batch (soon after an initial 1, with T steps of "
        "weight w, only running_var - (1 - w)^T)"
    ),
    "momentum_weighs=old": "pass 1 - momentum",
    "momentum_none=fixed": "keep the average yourself; None means a fixed 0.1 here",
    "momentum_none=refused": "pass a number; for a plain average let the new value weigh 1/t in step t",
    "single_value=shift": "refuse such batches in your own code: the statistics still change",
    "single_value=nan": "refuse such batches in your own code",
    "single_value=identity": "refuse such batches in your own code",
    "training_normalizes_with=blended": "no setting makes the two agree; normalise with the batch yourself",
    "training_normalizes_with=running": "take the layer out of its frozen state",
    "untracked_eval_uses=initial": "call the layer in training mode where nothing is tracked",
    "bootstrap=zero_debiased": "set the running statistics after the first step yourself",
    "bootstrap=first_batch": "set the running statistics after the first step yourself",
    "precision": "do not rely on the dtype of the result; where float64 matters, write out the formula",
    "GN-16": "compare the channel count with the layer's own before the call",
    "BN-20": "compare the channel count with the layer's own before the call",
    "GN-12": "subtract a number near the mean from the input before the call: the output does not depend on it",
    "GN-24": "call the layer on the input in a wider type, and cast the output back",
    "GN-30": "call the layer on the input in a wider type, and cast the output back",
    "GN-31": "skip inputs without positions in training: their dweight is no number",
    "GN-35": "take an eps of at least 1e-7, or call the layer on the input in float32",
    "BN-17": (
        "in training subtract a number near the mean from the input before the call, and add it to the running mean "
        "afterwards: the output does not depend on it"
    ),
    "BN-18": "skip batches without samples in training",
    "BN-19": "skip batches without positions in training",
    "BN-26": "set the running statistics to float64 values yourself, before the first step",
    "BN-28": "save the running statistics yourself, and the number of batches if momentum is None",
    "BN-29": "leave weight and bias out of the optimizer instead of freezing the layer",
    "BN-32": "call the layer on the input in a wider type, and cast the output back",
    "BN-39": "call the layer on the input in a wider type, and cast the output back",
    "BN-45": "take an eps of at least 1e-7, or keep input, parameters and statistics in float32",
    "BN-31": "take the running statistics out of what the optimizer is given",
    "BN-30": "construct a new layer with the other momentum, and load the state into it",
    "setting=eps": "pass the eps you need and check the output: the one given is not the one used",
    "setting=momentum": "check the running statistics: the momentum given is not the one used",
}
