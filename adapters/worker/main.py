"""The worker: runs cases for the engine, in the framework's own process and interpreter.

It speaks the line protocol on standard input and output (docs/protocol.md). What the framework
prints goes to standard error.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

from normgauge.adapters.base import Adapter, where_it_runs
from normgauge.adapters.debug import DEBUG
from normgauge.adapters.lacks import ASKED
from normgauge.adapters.registry import make_adapter
from normgauge.adapters.script import script
from normgauge.adapters.worker.protocol import PROTOCOL, decode_case, decode_element, dump_line, encode_observation


class Adapters:
    """A framework's adapters in this process, one for each dtype that it is asked for.

    The framework reads its environment once, so they are for the dtypes that need the same one as the first, where
    dtypes may be together at all.
    """

    def __init__(self, framework: str | type[Adapter], dtype: str) -> None:
        self.first = make_adapter(framework, dtype)
        self._known = {dtype: self.first}

    def serves(self) -> list[str]:
        """The dtypes that this process can be asked for, the one that it was started for among them."""
        environment = dict(self.first.environment(self.first.dtype))
        others = self.first.dtypes() if self.first.dtypes_together else ()
        alike = [one for one in others if dict(self.first.environment(one)) == environment]
        return list(dict.fromkeys([self.first.dtype, *alike]))

    def of(self, dtype: str) -> Adapter:
        if dtype not in self._known:
            self._known[dtype] = type(self.first)(dtype)
        return self._known[dtype]


def hello(adapters: Adapters) -> dict[str, Any]:
    adapter = adapters.first
    return {
        "protocol": PROTOCOL,
        "framework": adapter.framework,
        "versions": adapter.versions(),
        "device": adapter.device(),
        "dtypes": list(adapter.dtypes()),
        "serves": adapters.serves(),
        "actions": list(ASKED),
        **where_it_runs(),
        "implementations": [adapter.describe(known) for known in adapter.implementations],
        "kin": [
            {"id": one.id, "layer": one.layer, "ranks": list(one.ranks), "lacks": adapter.declared(one)}
            for one in adapter.kin
        ],
    }


def answers(adapters: Adapters, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers to one request: one for each case of a ``run``, one for anything else."""
    if message["op"] == "run":
        for encoded in message["cases"]:
            case = decode_case(encoded)
            seen = adapters.of(case.dtype).run(message["implementation"], case)
            yield {"number": encoded["number"], **encode_observation(seen)}
    elif message["op"] == "script":
        case = decode_case(message["case"])
        text = script(
            adapters.of(case.dtype), message["implementation"], case, message["about"], decode_element(message)
        )
        yield {"number": message["number"], "script": text}
    else:
        yield {"number": message.get("number"), "error": f"op {message['op']!r} is not known; allowed: run, script"}


def serve(adapters: Adapters, requests: BinaryIO, replies: BinaryIO) -> None:
    replies.write(dump_line(hello(adapters)))
    replies.flush()
    for line in requests:
        for answer in answers(adapters, json.loads(line)):
            replies.write(dump_line(answer))
            replies.flush()


def end_with(parent: int) -> None:
    """End this process when its parent is gone, even from within a framework's call that never returns."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(framework: str, dtype: str) -> None:
    end_with(os.getppid())
    # The protocol keeps the real standard output; prints of the framework must not disturb it.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        adapters = Adapters(framework, dtype)
    except ImportError as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        replies.write(dump_line({"protocol": PROTOCOL, "cannot_import": f"{type(error).__name__}: {error}"}))
        replies.flush()
        return
    serve(adapters, sys.stdin.buffer, replies)
    atexit._run_exitfuncs()
    os._exit(0)  # to take a framework down part by part takes up to a second, for nothing


if __name__ == "__main__":
    main(*sys.argv[1:])
