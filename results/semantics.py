"""A profile in a few words."""

from __future__ import annotations

from normgauge.results.records import Profile


def semantics_of(profile: Profile) -> str:
    """Where a layer is not canonical, and what is unknown."""
    other = [
        f"{' or '.join(axis.worded(value) for value in axis.measured)}"
        for axis in profile.axes
        if axis.canonical not in axis.measured
    ]
    unknown = [axis.axis for axis in profile.axes if axis.canonical in axis.measured and len(axis.measured) > 1]
    if len(unknown) == len(profile.axes):
        return "nothing measured"
    if not profile.known:
        return "follows no known alternative"
    words = f"not canonical: {'; '.join(other)}" if other else "canonical"
    return f"{words} (unknown: {', '.join(unknown)})" if unknown else words
