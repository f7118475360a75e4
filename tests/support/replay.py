"""A program that writes a stream: ``python replay.py FILE``.

It writes the first line of the file, and after each of two requests, or when none comes, more of it. NumPy is not
needed, and a thread can do the same.
"""

from __future__ import annotations

import os
import select
import sys

#: Seconds in which a request must come: the host may be waiting for what is not in the stream.
_PATIENCE = 0.1


def parts(stream: bytes) -> tuple[bytes, bytes, bytes]:
    """The first line, what follows, and the last line."""
    first = stream.find(b"\n") + 1 or len(stream)
    last = max(first, stream.rfind(b"\n", 0, -1) + 1)
    return stream[:first], stream[first:last], stream[last:]


def replay(path: str, requests: int, answers: int) -> None:
    """Write the stream to the file number ``answers``.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    with open(path, "rb") as file:
        stream = file.read()
    for place, part in enumerate(parts(stream)):
        if place and select.select([requests], [], [], _PATIENCE)[0]:
            while (request := os.read(requests, 65536)) and not request.endswith(b"\n"):
                pass
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(answers, rest) :]


if __name__ == "__main__":
    replay(sys.argv[1], 0, 1)
