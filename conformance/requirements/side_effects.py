"""What a call leaves as it was, and the types in which it computes and answers: judged by all cases."""

from __future__ import annotations

from typing import Final

from normgauge.conformance.requirements.requirement import ARRAY_API, IEEE, Requirement, twins

SIDE_EFFECTS: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-17", "BN-21", ground="robustness", rule="unmodified", title="input unmodified",
        statement=(
            "A call changes neither its inputs nor its parameters nor any array that a user has from before, and its "
            "output lies in memory of its own."
        ),
        source=f"{ARRAY_API}, design topics: copy-view behaviour and mutability",
    ),
    *twins(
        "GN-18", "BN-22", ground="robustness", rule="precision", title="float64 honoured",
        statement="Input of type float64 is computed in float64.",
        source=f"{IEEE}, section 5.1: results are correct to the destination format", dtypes=("float64",),
        remedy="do not rely on the dtype of the result; where float64 matters, write out the formula",
    ),
    *twins(
        "GN-20", "BN-24", ground="convention", rule="output_type", title="output type",
        statement="The output has the type of the input.", source=f"{ARRAY_API}, type promotion rules",
    ),
)  # fmt: skip
