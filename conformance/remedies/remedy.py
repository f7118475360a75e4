"""A remedy: a sentence for people, and the function that does what the sentence says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.conformance.remedies.causes import Cause, Symptom


class Layer(Protocol):
    """The layer that a port calls."""

    @property
    def identity(self) -> ImplementationId: ...

    def run(self, case: Case) -> Observation:
        """What the layer does on a case."""

    def other(self, **changes: str) -> Layer:
        """The same class with other ``options``, on another ``backend`` or in another ``mode``."""


#: What a port gets on a case that is meant for the canonical layer, with this layer in its place.
Apply = Callable[[Case, Layer], Observation]
#: What a user of the framework does in place of an action: with a layer or the model that holds it and the action's
#: value, for ``save_load`` with a layer and a new one. It may give functions that are called in place of others from
#: then on, by their names in the scripts of the framework.
Act = Callable[..., Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A sentence about one cause, and the implementations that it is for.

    ``layer`` is a kind of layer. ``key`` is ``axis=value`` or ``accuracy=one_pass``, which name a cause, or the id of a
    requirement, which names none: there ``cause`` says what the requirement's verdict must rest on. Each of
    ``packages`` (the first name of a class path), ``classes``, ``backends``, ``modes``, ``options`` and ``dtypes``
    limits it to those that are named; empty means any.

    Raises:
        ValueError: the id of a requirement without a cause.
    """

    layer: str
    key: str
    sentence: str
    cause: Cause | None = None
    packages: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "=" not in self.key and self.cause is None:
            raise ValueError(f"{self.key}: a requirement alone has no remedy; pass the cause that it is for")

    def explains(self, symptom: Symptom) -> bool:
        """Whether a verdict rests on the cause that this is about."""
        return self.cause is None or self.cause.explains(symptom)

    def is_for(self, identity: ImplementationId, dtype: str) -> bool:
        limits = (
            (self.packages, identity.package),
            (self.classes, identity.class_name),
            (self.backends, identity.backend),
            (self.modes, identity.mode),
            (self.options, identity.options),
            (self.dtypes, dtype),
        )
        return all(own in allowed for allowed, own in limits if allowed)


@dataclass(frozen=True, kw_only=True)
class Remedy(Advice):
    """A sentence whose function brings the layer within the bound of the canonical semantics.

    ``apply`` does with cases what the sentence says. What is no matter of cases is done ``natively``: in place of an
    action (:data:`~normgauge.adapters.case.ACTIONS`) a function is called with the framework's own layer or model.
    """

    apply: Apply | None = None
    natively: Mapping[str, Act] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.apply is None and not self.natively:
            raise ValueError(f"{self.key}: a remedy needs a function that does what it says; NotMended has none")


@dataclass(frozen=True, kw_only=True)
class NotMended(Advice):
    """A sentence that says why nothing makes the layer agree with the canonical semantics."""


def advice_for(known: Iterable[Advice], key: str, identity: ImplementationId, dtype: str) -> list[Advice]:
    """What is said of a cause to those who use this implementation, in the order of the table."""
    return [one for one in known if one.key == key and one.is_for(identity, dtype)]


def settings_changed(case: Case, **changes: Any) -> dict[str, Any]:
    return {**case.settings, **changes}
