"""What a call leaves as it was, and the types in which it computes and answers: judged by all cases."""

from __future__ import annotations

from typing import Final

from normgauge.conformance.requirements.requirement import Both, Requirement, twins
from normgauge.conformance.requirements.sources import (
    IEEE,
    JAX_ARRAYS,
    ONNX_BATCH_NORM,
    ONNX_GROUP_NORM,
    TORCH_OPERATORS,
)

_NO_ALIAS: Final = "and no result with (a), as one that lies in the memory of an argument"
_IMMUTABLE: Final = "JAX arrays are immutable and do not support in-place item assignment."

SIDE_EFFECTS: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-17", "BN-21", ground="robustness", rule="unmodified", title="input unmodified",
        statement=(
            "A call changes no input, no parameter and no older array of the user. Each result, gradients and running "
            "statistics included, has memory of its own, and so has each of its elements. A result is writable if the "
            "framework's arrays are."
        ),
        source=Both(
            (
                TORCH_OPERATORS.implies(
                    f"no argument is marked with (a!), as one that is written to, {_NO_ALIAS}", at="native_group_norm",
                    quote="native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt "
                          "HxW, int group, float eps) -> (Tensor, Tensor, Tensor)",
                ),
                JAX_ARRAYS.says(_IMMUTABLE),
            ),
            (
                TORCH_OPERATORS.implies(
                    f"the running statistics alone are marked with (a!) or (b!), as written to, {_NO_ALIAS}",
                    at="_native_batch_norm_legit",
                    quote="_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) "
                          "running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) -> (Tensor, "
                          "Tensor, Tensor)",
                ),
                JAX_ARRAYS.says(_IMMUTABLE),
            ),
        ),
    ),
    *twins(
        "GN-18", "BN-22", ground="robustness", rule="precision", title="digits honoured",
        statement="Input of float32 or float64 is computed in its own type: the results have the digits of that type.",
        source=(
            IEEE.implies(
                "binary32 has 24 digits, binary64 53, and who is given a number of that type counts on them",
                at="table 3.5",
            ),
        ),
        dtypes=("float32", "float64"),
    ),
    *twins(
        "GN-20", "BN-24", ground="convention", rule="output_type", title="output type",
        statement="Where parameters and input have one type, the output has it too.",
        source=Both(*(
            (work.implies("X and Y are of the one type T", quote="Constrain input and output types to float tensors."),)
            for work in (ONNX_GROUP_NORM, ONNX_BATCH_NORM)
        )),
    ),
)  # fmt: skip
