"""What the list of known differences has of each measured difference, with an entry to paste into one's own list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from normgauge.conformance.gating.entries import Expectation
from normgauge.conformance.gating.expectations import Expectations, Measured, identity_of, of_judgement
from normgauge.conformance.gating.suggest import expected_entries
from normgauge.results.answers import KnownDifference
from normgauge.results.records import Header, Judgement, Profile, Record


def known_differences(
    records: Sequence[Record], expectations: Expectations, named: Callable[[str], str]
) -> Iterator[KnownDifference]:
    """Every difference of one run; ``named`` gives the name of an implementation on the page.

    Raises:
        BrokenExpectations: two entries are about one of them, or one does not fit these versions.
    """
    header = next(one for one in records if isinstance(one, Header))
    identities = {one.implementation: identity_of(one) for one in records if isinstance(one, Profile)}
    together: dict[tuple[str, str, str], list[Measured]] = {}
    for one in records:
        if isinstance(one, Judgement):
            measured = of_judgement(one, identities.get(one.implementation))
            if measured.divergent:
                about = one.implementation, one.requirement, one.measured
                together.setdefault(about, []).append(measured)
    for (implementation, requirement, value), own in together.items():
        expected = next(
            (held.expected for one in own if (held := expectations.hold(one, header.versions)).comparison == "met"),
            None,
        )
        yield KnownDifference(
            implementation=named(implementation),
            requirement=requirement,
            measured=value,
            entry="\n".join(expected_entries((one, header) for one in own)),
            reason=expected.entry.reason if expected else "",
            url=(expected.entry.url or "") if expected else "",
            versions=_versions(expected) if expected else "",
        )


def _versions(expected: Expectation) -> str:
    return ", ".join(f"{package} {specifier}" for package, specifier in expected.entry.versions.items())
