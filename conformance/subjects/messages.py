"""What a worker says, decoded once and checked (docs/protocol.md).

``protocol.schema.json`` beside this file is generated from these classes. Fields that they do not have are ignored, so
that a worker may know more than this release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
import numpy as np

from normgauge.adapters.case import Array, Case, Observation, Raised, StepResult
from normgauge.adapters.dtypes import DTYPES, KNOWN_DTYPES
from normgauge.adapters.implementation_id import EAGER, ImplementationId
from normgauge.adapters.lacks import Lack, actions_in, lacking
from normgauge.adapters.worker.protocol import PROTOCOL

if TYPE_CHECKING:
    DtypeName: TypeAlias = str
    CarrierName: TypeAlias = str
else:
    DtypeName = Literal[DTYPES]
    CarrierName = Literal[tuple(dict.fromkeys(one.carrier for one in KNOWN_DTYPES.values()))]
Rank = Literal[2, 3, 4, 5]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a part of one."""


class Description(Message, frozen=True, kw_only=True):
    """What a worker says of an implementation.

    ``dtypes`` are those that it is made for; where the worker names none, those of the framework. ``promotes`` and
    ``equal_samples`` are None where the worker leaves them to what the name of its ``mode`` means.
    """

    id: str
    layer: str
    layout: str
    names: dict[str, str]
    documentation: str
    ranks: Annotated[tuple[Rank, ...], msgspec.Meta(min_length=1)]
    remedies: dict[str, str]
    signature_defaults: dict[str, Any]
    documentation_texts: dict[str, str | None] = {}
    mode: str = EAGER
    compiles: bool = False
    slow: bool = False
    cheap: bool = False
    thorough: bool = False
    dtypes: tuple[DtypeName, ...] = ()
    missing: str | None = None
    promotes: bool | None = None
    equal_samples: bool | None = None
    lacks: tuple[Lack, ...] = ()

    @property
    def identity(self) -> ImplementationId:
        return ImplementationId.parse(self.id, self.mode)


class RelatedLayer(Message, frozen=True, kw_only=True):
    """An InstanceNorm or LayerNorm of the framework, which is compared with its GroupNorm."""

    id: str
    layer: str
    ranks: tuple[Rank, ...]
    lacks: tuple[Lack, ...] = ()

    @property
    def identity(self) -> ImplementationId:
        return ImplementationId.parse(self.id)


class Hello(Message, frozen=True, kw_only=True):
    """What a worker says first. ``serves`` are the dtypes of the cases that this process takes."""

    protocol: int
    framework: str
    versions: dict[str, str]
    platform: str
    device: str
    dtypes: tuple[DtypeName, ...]
    implementations: tuple[Description, ...]
    serves: tuple[DtypeName, ...] = ()
    actions: tuple[str, ...] = ()
    python: str = ""
    numpy: str = ""
    kin: tuple[RelatedLayer, ...] = ()


class Numbers(Message, frozen=True, kw_only=True):
    """An array: ``data`` has its values in C order, each little-endian, and travels as base64 text."""

    dtype: CarrierName
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    data: bytes

    def array(self) -> Array:
        """The values as an array of this machine's byte order.

        Raises:
            ValueError: there are more or fewer values than the shape has.
        """
        flat = np.frombuffer(self.data, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return flat.reshape(self.shape).astype(np.dtype(self.dtype))


class Exceptional(Message, frozen=True, kw_only=True):
    """The exception that ended a case."""

    where: Annotated[str, msgspec.Meta(pattern=r"^(construct|step [1-9][0-9]*)$")]
    type: str
    message: str


class Result(Message, frozen=True, kw_only=True):
    """What one step of a case gave."""

    output: Numbers
    dtype: str
    state: dict[str, Numbers]
    modified: tuple[str, ...]
    shares: tuple[str, ...] = ()
    gradients: dict[str, Numbers] = {}
    dtypes: dict[str, str] = {}
    trainable: tuple[str, ...] | None = None


class Answer(Message, frozen=True, kw_only=True):
    """The answer to one case of a request ``run``.

    ``unsupported`` is an exception like any other: what a layer does not have is declared in the hello (``lacks``).
    """

    number: int
    steps: tuple[Result, ...]
    warnings: tuple[str, ...]
    raised: Exceptional | None = None
    unsupported: str | None = None

    def observation(self) -> Observation:
        """The same in the words of the engine.

        Raises:
            ValueError: an array whose values do not fit its shape.
        """
        raised = self.raised
        if raised is None and self.unsupported is not None:
            raised = Exceptional(where=f"step {len(self.steps) + 1}", type="unsupported", message=self.unsupported)
        return Observation(
            steps=tuple(_result(step) for step in self.steps),
            raised=Raised(where=raised.where, type=raised.type, message=raised.message) if raised else None,
            warnings=self.warnings,
        )


class ScriptAnswer(Message, frozen=True, kw_only=True):
    """The answer to a request ``script``; a worker that writes none leaves the text out."""

    script: str | None = None


def _result(step: Result) -> StepResult:
    return StepResult(
        output=step.output.array(),
        dtype=step.dtype,
        state={name: value.array() for name, value in step.state.items()},
        modified=step.modified,
        shares=step.shares,
        gradients={name: value.array() for name, value in step.gradients.items()},
        dtypes=step.dtypes,
        trainable=step.trainable,
    )


def without(hello: Hello, implementation: str, case: Case) -> str | None:
    """Why an implementation, or a related layer, cannot be asked this case, as far as the hello declares it."""
    unknown = actions_in(case) - set(hello.actions)
    if unknown:
        return f"the worker does not know {', '.join(sorted(unknown))}"
    described = next((one for one in (*hello.implementations, *hello.kin) if one.id == implementation), None)
    return lacking(described.lacks, case) if described is not None else None


def hello_of(message: dict[str, Any], dtype: str) -> Hello:
    """The hello of a worker that was started for ``dtype``, with everything filled in that it may leave out.

    Raises:
        ValueError: another protocol, or a field that is missing or of the wrong type; the message names it.
    """
    if message.get("protocol") != PROTOCOL:
        raise ValueError(f"the worker speaks protocol {message.get('protocol')!r}, this is {PROTOCOL}")
    try:
        hello = msgspec.convert(message, Hello)
    except msgspec.ValidationError as error:
        raise ValueError(f"the worker's hello cannot be used: {error}; docs/protocol.md says what it has") from None
    ids = [one.id for one in (*hello.implementations, *hello.kin)]
    if not hello.implementations:
        raise ValueError("the worker's hello has no implementations; name at least one")
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise ValueError(f"the worker's hello has the id {twice[0]!r} twice; an id is one implementation's")
    described = tuple(_filled(one, hello) for one in hello.implementations)
    serves = hello.serves or msgspec.convert((dtype,), tuple[DtypeName, ...])
    return msgspec.structs.replace(hello, implementations=described, serves=serves)


#: What the name of a mode means of itself, where a worker does not say it.
_PROMISED: Final[Mapping[str, Mapping[str, bool]]] = {
    "expanded": {"equal_samples": True},
    **{name: {"promotes": True} for name in ("mixed", "autocast", "mixed_compile")},
}


def _filled(described: Description, hello: Hello) -> Description:
    promised = {"promotes": False, "equal_samples": False, **_PROMISED.get(described.mode, {})}
    told = {name: value for name in promised if (value := getattr(described, name)) is not None}
    return msgspec.structs.replace(described, dtypes=described.dtypes or hello.dtypes, **{**promised, **told})


#: What a worker may write, by the name that docs/protocol.md gives it.
MESSAGES: Final = {"hello": Hello, "answer": Answer, "script": ScriptAnswer}


def schema() -> dict[str, Any]:
    """The JSON Schema of everything that a worker writes; ``$defs`` has a schema for each of :data:`MESSAGES`."""
    found, components = msgspec.json.schema_components(MESSAGES.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"what a worker writes, one message a line, protocol {PROTOCOL}",
        "anyOf": list(found),
        "$defs": components,
    }
