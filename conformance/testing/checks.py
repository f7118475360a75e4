"""A function through every experiment of the suite, in this process, with one error for all differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from normgauge.adapters.callables.adapter import LAYOUTS, CallableAdapter, Words, adapter_of
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.identify.table import as_text
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.run.measure import measure
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.in_process import InProcess
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.verdicts.evidence import WRITE
from normgauge.results.grounds import word_for
from normgauge.results.records import DIVERGENT, Judgement, NotRun, Profile
from normgauge.results.semantics import semantics_of

DTYPES: Final = ("float32",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """What was measured of a function: a profile per dtype, and a judgement per requirement and dtype.

    ``known`` has the reasons of known differences, by requirement.
    """

    name: str
    profiles: tuple[Profile, ...]
    judgements: tuple[Judgement, ...]
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def differences(self) -> tuple[Judgement, ...]:
        """What is not as required."""
        return tuple(one for one in self.judgements if one.verdict in DIVERGENT)

    def of(self, requirement: str) -> tuple[Judgement, ...]:
        """The judgements of one requirement."""
        return tuple(one for one in self.judgements if one.requirement == requirement)

    def check(self) -> None:
        """Raise for differences that are not known, and for known ones that are gone.

        Raises:
            AssertionError: all of them in one text.
        """
        __tracebackhide__ = True
        new = [one for one in self.differences if one.requirement not in self.known]
        gone = [one for one in self.known if one not in {difference.requirement for difference in self.differences}]
        if new or gone:
            raise AssertionError("\n".join([str(self), *self._texts(new, gone)]))

    def _texts(self, new: Sequence[Judgement], gone: Sequence[str]) -> Iterator[str]:
        for text, dtypes in _alike(new).items():
            yield f"in {', '.join(dtypes)}: {text}" if len(self.profiles) > 1 else text
        for one in gone:
            yield f"{one} is in known_differences and was not found; remove it"

    def __str__(self) -> str:
        """What is computed, and how many requirements it meets."""
        counts: dict[str, int] = {}
        for one in self.judgements:
            counts[one.verdict] = counts.get(one.verdict, 0) + 1
        semantics = dict.fromkeys(map(semantics_of, self.profiles))
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        return f"{self.name}: {'; '.join(semantics)}\n{told}"


def text_of(one: Judgement) -> str:
    """A difference in words, with its remedy."""
    ground = f" ({one.ground})" if one.ground else ""
    headline = f"{word_for(one.verdict, one.ground)} {one.requirement} {one.title}{ground}"
    if one.falls_with:
        return f"{headline}: falls with {one.falls_with}"
    rows = [("measured", one.sentence.removeprefix(f"{one.implementation}: "))]
    rows += [("remedy", remedy)] if (remedy := _remedy(one)) else []
    rows += [("no remedy", one.not_mended)] if one.not_mended else []
    return as_text(headline, [*rows, ("required", one.statement)])


def _remedy(one: Judgement) -> str:
    """What to write in a function of one's own, and what helps with one that cannot be changed."""
    requirement = requirements()[one.requirement]
    axis = None if requirement.axis is None else kind_of(requirement.layer).axis(requirement.axis)
    own = f"{WRITE} {axis.code}" if axis is not None and axis.code else ""
    if not own or not one.remedy:
        return own or one.remedy or ""
    return f"{own}; around a layer that you cannot change: {one.remedy}"


def _alike(found: Sequence[Judgement]) -> dict[str, list[str]]:
    """The texts of differences, each with its dtypes; those that fall with another one last."""
    texts: dict[str, list[str]] = {}
    for one in sorted(found, key=lambda one: bool(one.falls_with)):
        texts.setdefault(text_of(one), []).append(one.dtype)
    return texts


def checked(
    adapter: type[CallableAdapter], dtypes: Sequence[str] = DTYPES, known: Mapping[str, str] | None = None
) -> Checked:
    """What is measured of the function of an adapter.

    Raises:
        AssertionError: nothing could be measured; the message has the first reason.
        ValueError: the library of the function has not one of the dtypes.
    """
    __tracebackhide__ = True
    (implementation,) = adapter.implementations
    unknown = [one for one in dtypes if one not in adapter.dtypes()]
    if unknown or not dtypes:
        allowed = ", ".join(adapter.dtypes())
        raise ValueError(f"dtypes has {unknown[0] if unknown else 'nothing'!r}; allowed: {allowed}")
    _check_known(known or {}, implementation.layer)
    found: list[Any] = []
    for dtype in dtypes:
        found += _measured(adapter, implementation.id, dtype)
    return Checked(
        name=implementation.id,
        profiles=tuple(one for one in found if isinstance(one, Profile)),
        judgements=tuple(one for one in found if isinstance(one, Judgement)),
        known=dict(known or {}),
    )


def _measured(
    adapter: type[CallableAdapter], identifier: str, dtype: str, *, diagnosis_only: bool = False
) -> Iterator[Any]:
    __tracebackhide__ = True
    subject = InProcess(Launch(framework=adapter.framework), dtype, adapter)
    wanted = Wanted(dtypes=(dtype,), in_process=True, diagnosis_only=diagnosis_only)
    (description,) = subject.greeting.implementations
    try:
        for record in measure(subject, description, dtype, wanted, References()):
            if isinstance(record, NotRun):
                raise AssertionError(f"{identifier} {dtype}: {record.reason}")
            yield record
    except CannotRun as error:
        raise AssertionError(f"{identifier} {dtype}: {error}") from None


def _check_known(known: Mapping[str, str], layer: str) -> None:
    ids = [one.id for one in kind_of(layer).requirements]
    for one, why in known.items():
        if one not in ids:
            raise ValueError(f"known_differences has {one!r}; allowed: {ids[0]} to {ids[-1]}")
        if not isinstance(why, str) or not why.strip():
            raise ValueError(f"known_differences[{one!r}] is {why!r}; give the reason in a few words")


def _passed(
    function: Callable[..., Any], words: Words, dtypes: Sequence[str], known: Mapping[str, str] | None
) -> Checked:
    """What was measured, without differences that are not known.

    Raises:
        AssertionError: there are some; of a function that follows nothing known, with the layout in which it would.
    """
    __tracebackhide__ = True
    found = checked(adapter_of(function, words), dtypes, known)
    try:
        found.check()
    except AssertionError as error:
        other = _other_layout(function, words, dtypes[0]) if _is_lost(found) else ""
        raise AssertionError(f"{error}{other}") from None
    return found


def _is_lost(found: Checked) -> bool:
    """Whether nothing is known of what a function computes."""
    return any(not one.known or all(len(axis.measured) > 1 for axis in one.axes) for one in found.profiles)


def _other_layout(function: Callable[..., Any], words: Words, dtype: str) -> str:
    """The cause where the function is canonical with its channels elsewhere."""
    (layout,) = {*LAYOUTS} - {words.layout}
    adapter = adapter_of(function, replace(words, layout=layout))
    try:
        records = [*_measured(adapter, adapter.implementations[0].id, dtype, diagnosis_only=True)]
    except AssertionError:
        return ""
    semantics = [semantics_of(one) for one in records if isinstance(one, Profile) and one.known]
    if not any(one.startswith("canonical") for one in semantics):
        return ""
    return f"\nlikely cause: the function takes {layout}, not {words.layout}; give layout={layout!r}"


def requirements_of(layer: str, dtypes: Sequence[str]) -> list[Requirement]:
    """The requirements that a function can be checked for."""
    every = kind_of(layer).requirements
    return [one for one in every if one.relation is None and {*one.dtypes} & {*dtypes} and one.about != "committed"]


def check_group_norm(  # noqa: PLR0913 - the words on a function
    function: Callable[..., Any],
    *,
    layout: str = "channels first",
    arrays: str | None = None,
    names: Mapping[str, str] | None = None,
    ranks: Sequence[int] = (2, 3, 4, 5),
    gradients: bool | None = None,
    dtypes: Sequence[str] = DTYPES,
    known_differences: Mapping[str, str] | None = None,
) -> Checked:
    """Run every experiment on a GroupNorm function in this process, and raise one error for all differences.

    Args:
        function: called as ``function(x, num_groups=..., weight=..., bias=..., eps=...)``, as far as it has such
            parameters; usual names such as ``groups``, ``gamma`` and ``epsilon`` are known, too.
        layout: ``channels first`` or ``channels last``, of x and the output.
        arrays: ``numpy``, ``torch``, ``jax`` or ``mlx``; by default what the function's annotations or code show.
        names: the function's own parameter names by the names above, where they are unusual.
        ranks: the numbers of dimensions of x that it takes, from 2 to 5.
        gradients: whether to check the gradients, by automatic differentiation; by default yes, but for NumPy.
        dtypes: the types to check, out of ``float32``, ``float64``, ``float16`` and ``bfloat16``.
        known_differences: the reason of each known difference by the id of its requirement, as in
            ``{"GN-13": "no batch of ours is empty"}``. A known difference that is not found is an error.

    Returns:
        What was measured; printed, it says what the function computes.

    Raises:
        AssertionError: every difference with the numbers that show it and its remedy, or why nothing was measured.
        ValueError: a function or a word that makes no sense.
    """
    __tracebackhide__ = True
    words = Words(
        layer="group_norm", layout=layout, arrays=arrays, names=names or {}, ranks=tuple(ranks), gradients=gradients
    )
    return _passed(function, words, dtypes, known_differences)


def check_batch_norm(  # noqa: PLR0913 - the words on a function
    function: Callable[..., Any],
    *,
    layout: str = "channels first",
    arrays: str | None = None,
    names: Mapping[str, str] | None = None,
    returns: Sequence[str] = ("y", "running_mean", "running_var"),
    ranks: Sequence[int] = (2, 3, 4, 5),
    gradients: bool | None = None,
    dtypes: Sequence[str] = DTYPES,
    known_differences: Mapping[str, str] | None = None,
) -> Checked:
    """Run every experiment on a BatchNorm function in this process, and raise one error for all differences.

    Args:
        function: called as ``function(x, running_mean=..., running_var=..., weight=..., bias=..., training=...,
            momentum=..., eps=...)``, as far as it has such parameters. It changes the running statistics in place, or
            returns them behind the output.
        layout: as for :func:`check_group_norm`, as are all others but ``returns``.
        arrays: the library of the arrays.
        names: the function's own parameter names by the names above.
        returns: the order of what a returned tuple has.
        ranks: the numbers of dimensions of x that it takes.
        gradients: whether to check the gradients.
        dtypes: the types to check.
        known_differences: the reason of each known difference by the id of its requirement.

    Returns:
        What was measured; printed, it says what the function computes.

    Raises:
        AssertionError: every difference with the numbers that show it and its remedy, or why nothing was measured.
        ValueError: a function or a word that makes no sense.
    """
    __tracebackhide__ = True
    words = Words(
        layer="batch_norm",
        layout=layout,
        arrays=arrays,
        names=names or {},
        returns=tuple(returns),
        ranks=tuple(ranks),
        gradients=gradients,
    )
    return _passed(function, words, dtypes, known_differences)
