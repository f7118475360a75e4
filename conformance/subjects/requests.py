"""What the host writes to a worker (docs/protocol.md). ``protocol.schema.json`` has the schemas of these classes, too.

They describe what ``adapters/worker/protocol.py`` encodes. The host makes its requests there and does not check each
again: the tests hold every request of whole runs against the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import UNSET, UnsetType

from normgauge.adapters.case import ACTIONS, DERIVATIVES, PARAMETERS
from normgauge.adapters.memory_layouts import LAYOUTS
from normgauge.conformance.subjects.messages import DtypeName, Message, Number, Numbers

if TYPE_CHECKING:
    ActionName: TypeAlias = str
    ParameterName: TypeAlias = str
    LayoutName: TypeAlias = str
    DerivativeName: TypeAlias = str
else:
    ActionName = Literal[ACTIONS]
    ParameterName = Literal[PARAMETERS]
    LayoutName = Literal[tuple(LAYOUTS)]
    DerivativeName = Literal[DERIVATIVES]


class Settings(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of the constructor; an absent setting is not passed.

    A GroupNorm always has ``num_groups``. A ``momentum`` of null is a value; it differs from an absent momentum.
    """

    num_channels: int
    num_groups: int | UnsetType = UNSET
    eps: float | UnsetType = UNSET
    momentum: float | UnsetType | None = UNSET
    weight: bool | UnsetType = UNSET
    bias: bool | UnsetType = UNSET
    track: bool | UnsetType = UNSET


class ActionRequest(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An action on the layer before a call.

    ``momentum`` has the new momentum as its ``value``, ``set_parameters`` has ``parameters``.
    """

    action: ActionName
    value: float | UnsetType | None = UNSET
    parameters: dict[ParameterName, Numbers] | UnsetType = UNSET


class StepRequest(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of the layer; with ``dy`` the answer has gradients, with ``inspect`` the parameters.

    ``layout`` and ``dy_layout`` are the memory layouts of x and dy, if they are not dense. ``derivative`` requests
    other derivatives instead of the gradients; the implementation has it among its ``derivatives``.
    """

    mode: Literal["train", "eval"]
    x: Numbers
    dy: Numbers | UnsetType = UNSET
    before: tuple[ActionRequest, ...] | UnsetType = UNSET
    inspect: bool | UnsetType = UNSET
    layout: LayoutName | UnsetType = UNSET
    dy_layout: LayoutName | UnsetType = UNSET
    derivative: DerivativeName | UnsetType = UNSET


class CaseRequest(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new layer and its calls. ``dtypes`` has the dtypes of parameters that differ from the input's dtype."""

    layer: str
    dtype: DtypeName
    settings: Settings
    parameters: dict[ParameterName, Numbers]
    steps: tuple[StepRequest, ...]
    dtypes: dict[ParameterName, DtypeName] | UnsetType = UNSET


class NumberedCase(CaseRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case of a request ``run``, with the number that its answer repeats."""

    number: Number


class RunRequest(Message, frozen=True, kw_only=True, tag_field="op", tag="run"):
    """Cases for one implementation; the worker sends one answer for each, in their order."""

    implementation: str
    cases: tuple[NumberedCase, ...]


class ElementRequest(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An element of a result: the number of the step, the quantity, such as ``dx``, and the canonical index."""

    step: int
    quantity: str
    index: tuple[int, ...]


class ScriptRequest(Message, frozen=True, kw_only=True, tag_field="op", tag="script"):
    """The request for a case as a program; ``about`` is one sentence for its head.

    ``element`` is an element of a large array, for a program that does not print the whole array.
    """

    number: Number
    implementation: str
    case: CaseRequest
    about: str
    element: ElementRequest | UnsetType = UNSET


#: What a host may write, by the ``op`` of the message.
REQUESTS: dict[str, type[Message]] = {"run": RunRequest, "script": ScriptRequest}
