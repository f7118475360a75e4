"""The signature of a departure: what it has in common with others of the same cause."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec

from normgauge.oracle import ACCURACY_CLASSES

Kind = Literal["values", "accuracy", "relation", "raises", "crash"]

#: What the data of a case has in common with others of one cause; a cause among ordinary numbers shows everywhere.
ORDINARY: Final = "ordinary numbers"
#: The data of a sequence of calls, whatever its numbers are; what is done between them stands in ``actions``.
CALLS: Final = "calls"


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``quantity`` and ``data`` tell a departure in values, ``accuracy`` is the wider class that allows for one.

    ``crash`` is ``death``, or ``change`` of an argument; ``related_layer`` has died in place of the implementation.
    ``raised`` is the type of an exception.
    """

    kind: Kind
    quantity: str = ""
    data: str = ""
    actions: tuple[str, ...] = ()
    accuracy: str = ""
    relation: str = ""
    crash: str = ""
    raised: str = ""
    related_layer: str = ""

    def __str__(self) -> str:
        if self.kind == "crash":
            return f"{self.crash} of {self.related_layer}" if self.related_layer else self.crash
        if self.kind != "values":
            return f"{self.kind}: {self.accuracy or self.relation or self.raised}"
        if self.data != CALLS:
            return f"{self.quantity} of {self.data}"
        return f"{self.quantity} of {CALLS} " + (f"with {', '.join(self.actions)}" if self.actions else "in a row")

    @property
    def everywhere(self) -> Signature:
        """The signature of a departure that shows among ordinary numbers, too, where this one would be no news."""
        quantity = "output" if self.kind == "accuracy" else self.quantity
        return Signature(kind="values", quantity=quantity, data=ORDINARY)

    @property
    def wider(self) -> tuple[Signature, ...]:
        """Of an accuracy, the same with each class that allows for more: a layer that needs one of them shows this."""
        accuracy, joins, dtype = self.accuracy.partition(" in ")
        classes = [*ACCURACY_CLASSES]
        more = classes[classes.index(accuracy) + 1 :] if accuracy in classes else []
        return tuple(Signature(kind="accuracy", accuracy=f"{one}{joins}{dtype}") for one in more)

    @property
    def causes(self) -> frozenset[str]:
        """What is done between the calls; by the layer itself or by its model is one cause."""
        return frozenset(name.removesuffix("_model") for name in self.actions)


def no_news(signature: Signature, known: Collection[Signature]) -> bool:
    """Whether ``known`` has the signature, or one of a cause that explains it."""
    if signature.data == CALLS:  # known where part of what is done between the calls suffices
        calls = (one for one in known if one.data == CALLS)
        if any(one.causes <= signature.causes for one in calls):
            return True
    return any(one in known for one in (signature, signature.everywhere, *signature.wider))


def stored_signature(content: Any) -> Signature:
    """The signature in a case file.

    Raises:
        ValueError: it is none.
    """
    return _of_text(content) if isinstance(content, str) else msgspec.convert(content, Signature)


def _of_text(text: str) -> Signature:
    """The inverse of ``str``, for the files of before there were fields. Nothing else reads a signature's text."""
    kind, _, name = text.partition(": ")
    if kind == "accuracy":
        return Signature(kind="accuracy", accuracy=name)
    if kind == "relation":
        return Signature(kind="relation", relation=name)
    what, of, data = text.partition(" of ")
    if what in {"death", "change"}:
        return Signature(kind="crash", crash=what, related_layer=data)
    if not of:
        raise ValueError(f"{text!r} is no signature")
    calls, _, actions = data.partition(" with ")
    if calls in {CALLS, f"{CALLS} in a row"}:
        return Signature(kind="values", quantity=what, data=CALLS, actions=tuple(filter(None, actions.split(", "))))
    return Signature(kind="values", quantity=what, data=data)
