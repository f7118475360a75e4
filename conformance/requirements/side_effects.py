"""What a call leaves as it was, and the types in which it computes and answers: judged by all cases."""

from __future__ import annotations

from typing import Final

from normgauge.conformance.requirements.requirement import Both, Requirement, twins
from normgauge.conformance.requirements.sources import IEEE, ONNX_BATCH_NORM, ONNX_GROUP_NORM, RESIDUAL_PAPER

SIDE_EFFECTS: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-17", "BN-21", ground="robustness", rule="unmodified", title="input unmodified",
        statement=(
            "A call changes neither its inputs nor its parameters nor any array that a user has from before. Each "
            "of its results, gradients and running statistics included, lies in memory of its own, every element in "
            "its own place, and can be written to where the framework's arrays can."
        ),
        source=(
            RESIDUAL_PAPER.implies(
                "x is read again after F was called on it", at="equation 1", quote="y = F(x, {Wi}) + x"
            ),
        ),
    ),
    *twins(
        "GN-18", "BN-22", ground="robustness", rule="precision", title="float64 honoured",
        statement="Input of type float64 is computed in float64: the results have the digits of that type.",
        source=(
            IEEE.implies(
                "binary64 has 53 digits, and who is given a number of that type counts on them", at="table 3.5"
            ),
        ),
        dtypes=("float64",),
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
