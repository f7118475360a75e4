"""What an adapter does not have yet: a mistake of the adapter, and nothing that its framework does."""

from __future__ import annotations

import dis
from collections.abc import Mapping
from types import TracebackType
from typing import Final

#: The type under which it is noted in an observation.
UNFINISHED: Final = "UnfinishedAdapter"
#: Methods that an adapter may be without, and the condition of the Lack that says so.
MAY_LACK: Final[Mapping[str, str]] = {
    "backward": "gradients=True",
    "save_load": "actions=('save_load',)",
    "model": "actions=('freeze_model', 'unfreeze_model')",
    "freeze": "actions=('freeze', 'unfreeze')",
    "set_momentum": "actions=('momentum',)",
    "set_parameters": "actions=('set_parameters',)",
    "reset": "actions=('reset',)",
    "trainable": "actions=('inspect',)",
}


def unfinished(adapter: object, error: BaseException) -> str | None:
    """The method that is not written and what helps, where a method of the adapter itself raised the error.

    A NotImplementedError that the framework raises is none of the adapter's: None.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if not isinstance(error, NotImplementedError) or last is None or not _raised_by(adapter, last):
        return None
    name = last.tb_frame.f_code.co_name
    said = f": {error}" if str(error) else ""
    text = f"the adapter does not support this: {type(adapter).__name__}.{name} is not written{said}; write it"
    if name == "derived":
        return f"{text}, or leave the derivative out of what derivatives returns"
    if name in MAY_LACK:
        lack = f"Lack({MAY_LACK[name]}, why=..., source=...)"
        return f"{text}, or, where the layer has no such thing, let lacks return {lack}"
    return text


def _raised_by(adapter: object, place: TracebackType) -> bool:
    """Whether a statement ``raise`` in a method of the adapter is what raised, and no call of compiled code in it."""
    frame = place.tb_frame
    first = frame.f_code.co_varnames[:1]
    own = bool(first) and frame.f_locals.get(first[0]) is adapter
    return own and frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
