"""The messages of a worker, decoded and checked once (docs/protocol.md).

``protocol.schema.json`` beside this file is generated from these classes (``schema.py``). Unknown fields are ignored: a
worker may support a later release.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np

from normgauge.adapters.case import Array, Observation, Raised, StepResult
from normgauge.adapters.dtypes import DTYPES, KNOWN_DTYPES
from normgauge.adapters.implementation_id import EAGER, ImplementationId
from normgauge.adapters.lacks import Lack
from normgauge.adapters.worker.protocol import PROTOCOL

if TYPE_CHECKING:
    DtypeName: TypeAlias = str
    CarrierName: TypeAlias = str
else:
    DtypeName = Literal[DTYPES]
    CarrierName = Literal[tuple(dict.fromkeys(one.carrier for one in KNOWN_DTYPES.values()))]
Rank = Literal[2, 3, 4, 5]
#: What is shown in lists and lines: short, and without line breaks and other orders to a terminal.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+(?![\s\S])")]
#: The number of the protocol, this one alone.
Version = Annotated[int, msgspec.Meta(ge=PROTOCOL, le=PROTOCOL)]
#: The number of a request for one answer: whole in every language.
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
#: Bytes of the longest line that a worker is sent, and the least that it must take.
LONGEST_LINE: Final = 2**26
_SHORTEST: Final = 2**16
#: Letters of a text of an answer that are kept, and of what is wrong with it.
_TEXT: Final = 10_000
_QUOTED: Final = 300
_WARNINGS: Final = 100


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a part of one."""


class Description(Message, frozen=True, kw_only=True):
    """An implementation in a worker's hello.

    ``dtypes`` are the supported dtypes; if the worker names none, those of the framework. ``promotes`` and
    ``equal_samples`` are None if the worker leaves them out; the name of the ``mode`` then decides. ``derivatives`` are
    the supported ones of a step, instead of gradients.
    """

    id: Name
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
    derivatives: tuple[Literal["second", "forward"], ...] = ()

    @property
    def identity(self) -> ImplementationId:
        return ImplementationId.parse(self.id, self.mode)


class RelatedLayer(Message, frozen=True, kw_only=True):
    """An InstanceNorm or LayerNorm of the framework, which is compared with its GroupNorm."""

    id: Name
    layer: str
    ranks: tuple[Rank, ...]
    lacks: tuple[Lack, ...] = ()

    @property
    def identity(self) -> ImplementationId:
        return ImplementationId.parse(self.id)


class Hello(Message, frozen=True, kw_only=True):
    """The first message of a worker.

    ``serves`` are the dtypes of the cases that this process accepts, ``longest_line`` the bytes of the longest line
    that it reads and writes.
    """

    protocol: Version
    framework: Name
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
    longest_line: Annotated[int, msgspec.Meta(ge=_SHORTEST)] = LONGEST_LINE


class CannotImport(Message, frozen=True, kw_only=True):
    """The first message of a worker that cannot load its framework, with the reason."""

    protocol: Version
    cannot_import: str


class Numbers(Message, frozen=True, kw_only=True):
    """An array: ``data`` has its values in C order, each little-endian, as base64 text."""

    dtype: CarrierName
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=32)]
    data: bytes

    def array(self) -> Array:
        """The values as an array of this machine's byte order.

        Raises:
            ValueError: there are more or fewer values than the shape has.
        """
        due = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if len(self.data) != due:
            raise ValueError(f"an array of shape {self.shape} in {self.dtype} has {due} bytes, got {len(self.data)}")
        flat = np.frombuffer(self.data, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return flat.reshape(self.shape).astype(np.dtype(self.dtype))


class Exceptional(Message, frozen=True, kw_only=True):
    """The exception that ended a case."""

    where: Annotated[str, msgspec.Meta(pattern=r"^(construct|step [1-9][0-9]*)$(?!\n)")]
    type: str
    message: str

    def shortened(self) -> Raised:
        """The same in the words of the engine, no text longer than is kept, and none with orders to a terminal."""
        return Raised(where=self.where, type=_plain(self.type), message=_plain(self.message))


def _plain(text: str) -> str:
    """As much of a text as is kept; of what is no letter, line breaks and tabs alone."""
    return "".join(letter for letter in text[:_TEXT] if letter.isprintable() or letter in "\n\t")


class Result(Message, frozen=True, kw_only=True):
    """The result of one step of a case."""

    output: Numbers
    dtype: str
    state: dict[str, Numbers]
    modified: tuple[str, ...]
    shares: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    gradients: dict[str, Numbers] = {}
    dtypes: dict[str, str] = {}
    trainable: tuple[str, ...] | None = None


class Answer(Message, frozen=True, kw_only=True):
    """The answer to one case of a request ``run``.

    ``unsupported`` counts as an exception: unsupported features are declared in the hello (``lacks``).
    """

    number: Number
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
            raised=raised.shortened() if raised is not None else None,
            warnings=tuple(_plain(text) for text in self.warnings[:_WARNINGS]),
        )


class ScriptAnswer(Message, frozen=True, kw_only=True):
    """The answer to a request ``script``; a worker without scripts leaves the text out."""

    number: Number
    script: str | None = None


class ErrorAnswer(Message, frozen=True, kw_only=True):
    """The answer to an unknown request."""

    number: Number
    error: str


def _result(step: Result) -> StepResult:
    return StepResult(
        output=step.output.array(),
        dtype=step.dtype,
        state={name: value.array() for name, value in step.state.items()},
        modified=step.modified,
        shares=step.shares,
        read_only=step.read_only,
        gradients={name: value.array() for name, value in step.gradients.items()},
        dtypes=step.dtypes,
        trainable=step.trainable,
    )


def lacks_of(hello: Hello, implementation: str) -> tuple[Lack, ...]:
    """What the hello declares that an implementation, or a related layer, does not have."""
    described: tuple[Description | RelatedLayer, ...] = (*hello.implementations, *hello.kin)
    return next((one.lacks for one in described if one.id == implementation), ())


class _Start(Message, frozen=True, kw_only=True):
    """What is read of a hello before anything else."""

    protocol: int | None = None
    cannot_import: str | None = None


class Nonsense(Exception):
    """A line after which nothing that the worker writes can be relied on; the message says what it did."""


class _Numbered(Message, frozen=True, kw_only=True):
    number: msgspec.Raw = msgspec.Raw(b"null")


_Read = TypeVar("_Read", bound=Message)
_Answer = TypeVar("_Answer", Answer, ScriptAnswer)


def _decoded(line: bytes, kind: type[_Read]) -> _Read:
    """The message in ``line``; what the kind does not have is not even kept in memory.

    Raises:
        ValueError: a field that is missing or of the wrong type; the message names it.
        Nonsense: no JSON object.
    """
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError as error:
        if not line.lstrip().startswith(b"{"):
            raise Nonsense(f"answered with a line that is no JSON object: {line[:80]!r}") from None
        raise ValueError(str(error)[:_QUOTED]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Nonsense(f"answered with a line that is not JSON: {line[:80]!r}") from None


def answer_of(line: bytes, kind: type[_Answer], number: int) -> _Answer:
    """The answer in ``line``, which is due for the case ``number``.

    Raises:
        ValueError: a malformed answer to that case; the message names the field.
        Nonsense: no JSON object, or not the answer to that case.
    """
    try:
        answer = _decoded(line, kind)
    except ValueError:
        told = bytes(_decoded(line, _Numbered).number)
        if told != b"%d" % number:
            raise Nonsense(f"answered case {told[:40].decode(errors='replace')} where {number} was due") from None
        raise
    if answer.number != number:
        raise Nonsense(f"answered case {answer.number} where {number} was due")
    return answer


def hello_in(line: bytes, dtype: str) -> Hello:
    """The hello in ``line``, as :func:`hello_of` gives it.

    Raises:
        ImportError: the worker says that it cannot load the framework; the message is its own.
        ValueError: as :func:`hello_of`.
        Nonsense: no JSON object.
    """
    try:
        start = _decoded(line, _Start)
    except ValueError as error:
        raise _unusable(error) from None
    if start.cannot_import is not None:
        raise ImportError(start.cannot_import[:_TEXT])
    _check_protocol(start.protocol)
    try:
        hello = _decoded(line, Hello)
    except ValueError as error:
        raise _unusable(error) from None
    return _complete(hello, dtype)


def hello_of(message: dict[str, Any], dtype: str) -> Hello:
    """The hello of a worker that was started for ``dtype``, with everything filled in that it may leave out.

    Raises:
        ValueError: another protocol, or a field that is missing or of the wrong type; the message names it.
    """
    _check_protocol(message.get("protocol"))
    try:
        hello = msgspec.convert(message, Hello)
    except msgspec.ValidationError as error:
        raise _unusable(error) from None
    return _complete(hello, dtype)


def _check_protocol(spoken: object) -> None:
    if spoken != PROTOCOL:
        raise ValueError(f"the worker speaks protocol {spoken!r}, this is {PROTOCOL}")


def _unusable(error: Exception) -> ValueError:
    return ValueError(
        f"the worker's hello cannot be used: {error}; docs/protocol.md says what it has, "
        "and `normgauge check` lists every fault of it"
    )


def _complete(hello: Hello, dtype: str) -> Hello:
    ids = [*(one.id for one in hello.implementations), *(one.id for one in hello.kin)]
    if not hello.implementations:
        raise ValueError("the worker's hello has no implementations; name at least one")
    if twice := [one for one, count in collections.Counter(ids).items() if count > 1]:
        raise ValueError(f"the worker's hello has the id {twice[0][:_QUOTED]!r} twice; an id is one implementation's")
    described = tuple(_filled(one, hello) for one in hello.implementations)
    serves = hello.serves or msgspec.convert((dtype,), tuple[DtypeName, ...])
    longest = min(hello.longest_line, LONGEST_LINE)
    return msgspec.structs.replace(hello, implementations=described, serves=serves, longest_line=longest)


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
MESSAGES: Final[Mapping[str, type[Message]]] = {
    "hello": Hello,
    "no framework": CannotImport,
    "answer": Answer,
    "script": ScriptAnswer,
    "error": ErrorAnswer,
}
