"""What texts claim, for the tests of it."""

from __future__ import annotations

from collections.abc import Mapping

from normgauge.conformance.documentation.claims import read_claims

GROUP = {"eps": "eps", "num_groups": "num_groups", "weight": "weight"}
BATCH = {"eps": "epsilon", "momentum": "momentum", "track": "track_running_stats"}
OUTSIDE = r"\frac{x-\mu}{\sigma + \epsilon}"


def said(layer: str, text: str, names: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """The values claimed of each subject by one text; silent subjects are left out."""
    known = names or (GROUP if layer == "group_norm" else BATCH)
    found: dict[str, list[str]] = {}
    for one in read_claims(layer, {"docstring of X": text}, known, {}):
        if one.value is not None:
            found.setdefault(one.subject, []).append(one.value)
    return found
