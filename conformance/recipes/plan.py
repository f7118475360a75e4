"""What changes from one layer to another: read from the axes of the two profiles, one rule for each axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes.layers import RecipeLayer
from normgauge.oracle import ACCURACY_CLASSES

#: What turns a variance of n values into another: by what the target tracks, and what the source does.
_FACTORS: Final = {("biased", "unbiased"): "n / (n - 1)", ("unbiased", "biased"): "(n - 1) / n"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the code must do beside naming things.

    Attributes:
        impossible: why no code makes the two agree.
        limits: what the code does not do, with the reason.
        notes: what the code does.
        permuted: whether the two form groups of other channels.
        contiguous: whether the channels of a group lie together in the source.
        complement: whether momentum becomes 1 - momentum.
        factor: what the part of the running variance that a batch adds is multiplied by; empty where nothing is.
        refuses_one: whether the code refuses a batch of one value per channel in training.
        lacks_average: whether the code refuses momentum None.
    """

    impossible: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    permuted: bool = False
    contiguous: bool = False
    complement: bool = False
    factor: str = ""
    refuses_one: bool = False
    lacks_average: bool = False

    def __or__(self, other: Plan) -> Plan:
        """Both together: texts are joined, a field that one of them sets is set."""
        return Plan(**{one.name: _both(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)})


def _both(one: Any, other: Any) -> Any:
    return one + other if isinstance(one, tuple) else one or other


def plan_of(source: RecipeLayer, target: RecipeLayer) -> Plan:
    """What code with ``target`` must do to compute what ``source`` computes."""
    kind, found = kind_of(source.implementation.layer), Plan()
    if source.implementation.layer != target.implementation.layer:
        other = kind_of(target.implementation.layer).title
        return Plan(impossible=(f"{source.id} is a {kind.title} layer, {target.id} a {other} layer",))
    for one in (source, target):
        if not one.profile.known:
            found |= Plan(impossible=(f"{one.id} follows none of the known formulas",))
    for axis in kind.axes:
        there, here = source.values(axis.name), target.values(axis.name)
        if (there and here and not set(there) & set(here)) or _open(there, here):
            found |= _RULES.get(axis.name, _unknown)(Differing(axis=axis.name, source=source, target=target))
    if kind.tracks and "track" in source.implementation.names and "track" not in target.implementation.names:
        name = source.implementation.names["track"]
        found |= Plan(limits=(f"{name}=False: {target.id} always tracks statistics",))
    return found | Plan(limits=(*_parts_alone(source, target), *_fewer_digits(source, target)))


def loses_digits(source: RecipeLayer, target: RecipeLayer) -> bool:
    """Whether the target is less accurate at inputs whose mean is large beside their deviation."""
    ranked = (*ACCURACY_CLASSES, None)  # None: outside every class
    return ranked.index(target.profile.accuracy) > max(ranked.index(source.profile.accuracy), ranked.index("welford"))


def _fewer_digits(source: RecipeLayer, target: RecipeLayer) -> Iterator[str]:
    if not loses_digits(source, target):
        return
    how = "computes the variance in one pass" if target.profile.accuracy == "one_pass" else "fits no accuracy class"
    yield f"accuracy: {target.id} {how}, and loses digits or gives NaN where |mean| far exceeds the deviation"


def _parts_alone(source: RecipeLayer, target: RecipeLayer) -> Iterator[str]:
    """Where the source can leave out the weight or the bias alone, and the target both or none."""
    flag_of = {part: flag for flag, parts in source.writing.flags.items() for part in parts}
    for flag, parts in target.writing.flags.items():
        own = list(dict.fromkeys(flag_of[part] for part in parts))
        if len(own) > 1:
            yield (
                f"only one of {' and '.join(own)}: {flag} of {target.id} leaves out both parameters or none; "
                "the other stays at its first value, and must be kept out of training"
            )


def _open(there: tuple[str, ...], here: tuple[str, ...]) -> bool:
    """Whether the source was decided where nothing could be measured of the target."""
    return len(there) == 1 and len(here) > 1


@dataclass(frozen=True, kw_only=True)
class Differing:
    """An axis on which the two differ."""

    axis: str
    source: RecipeLayer
    target: RecipeLayer

    @property
    def there(self) -> str:
        """The value of the source."""
        return self.source.values(self.axis)[0]

    @property
    def here(self) -> str:
        """The value of the target; empty where it is not decided."""
        values = self.target.values(self.axis)
        return values[0] if len(values) == 1 else ""

    def meaning(self, value: str) -> str:
        """What a value means, in words."""
        kind = kind_of(self.source.implementation.layer)
        return next((one.meaning for one in kind.axis(self.axis).every if one.name == value), value)


def _unknown(one: Differing) -> Plan:
    """A difference that no rule makes up for; the advice of the layer's kind says why, where it does."""
    if not one.here:
        return Plan()  # nothing is known of the target: no difference was measured
    kind = kind_of(one.source.implementation.layer)
    departs = one.here if one.here != kind.axis(one.axis).canonical else one.there
    known = [advice.sentence for advice in kind.advice if advice.key == f"{one.axis}={departs}"]
    return Plan(
        impossible=(
            f"{one.source.id}: {one.meaning(one.there)}; {one.target.id}: {one.meaning(one.here)}"
            + (f" ({known[0]})" if known else ""),
        )
    )


def _grouping(one: Differing) -> Plan:
    if {one.there, one.here} != {"contiguous", "interleaved"}:
        return _unknown(one)
    note = (
        f"groups: in {one.source.id}, {one.meaning(one.there)}; in {one.target.id}, {one.meaning(one.here)}; "
        "the channels of x, of weight and of bias are put in another order, those of y back"
    )
    return Plan(permuted=True, contiguous=one.there == "contiguous", notes=(note,))


def _momentum_weighs(one: Differing) -> Plan:
    weighs = f"momentum: in {one.source.id} it weighs the {one.there} value, in {one.target.id} the {one.here} one"
    return Plan(complement=True, notes=(f"{weighs}; the layer gets 1 - momentum",))


def _running_var(one: Differing) -> Plan:
    if (one.here, one.there) not in _FACTORS:
        return _unknown(one)
    factor = _FACTORS[one.here, one.there]
    divisor = {"biased": "n", "unbiased": "n - 1"}
    notes = (
        f"running variance: {one.source.id} tracks the variance with divisor {divisor[one.there]}, "
        f"{one.target.id} with {divisor[one.here]}; after a training call, what the batch added is multiplied by "
        f"{factor}",
        "running variance: a trained one is passed as it is; eval uses it without a divisor",
    )
    limit = (
        "a traced training step (jit, compile, gradients of JAX and MLX): call the layer itself there, and "
        "rescale_variance after the step"
    )
    return Plan(factor=factor, notes=notes, limits=(limit,))


def _single_value(one: Differing) -> Plan:
    if one.there == "refused":
        note = f"one value per channel in training: {one.source.id} raises an error, and so does the code"
        return Plan(refuses_one=True, notes=(note,))
    if one.here == "refused":
        limit = f"one value per channel in training: {one.target.id} raises an error, {one.source.id} gives a result"
        return Plan(limits=(limit,))
    return _unknown(one)


def _momentum_none(one: Differing) -> Plan:
    if one.there != "cumulative":
        return Plan()  # elsewhere None is no setting that a user asks for
    limit = (
        f"momentum=None: {one.target.id} has no plain average; set momentum to the weight 1/t before training step t"
    )
    return Plan(lacks_average=True, limits=(limit,))


def _untracked(one: Differing) -> Plan:
    if not one.here:
        return Plan()  # the rule on the setting says that the target always tracks
    limit = f"without running statistics in eval: {one.source.id} uses those of the {one.there}, not {one.target.id}"
    return Plan(limits=(limit,))


_RULES: Final[Mapping[str, Callable[[Differing], Plan]]] = {
    "grouping": _grouping,
    "momentum_weighs": _momentum_weighs,
    "running_var": _running_var,
    "single_value": _single_value,
    "momentum_none": _momentum_none,
    "untracked_eval_uses": _untracked,
}


def changes(source: RecipeLayer, target: RecipeLayer) -> int:
    """How many things the code must do or cannot do: the fewer, the better the target fits."""
    plan = plan_of(source, target)
    return 100 * len(plan.impossible) + len(plan.limits) + len(plan.notes)
