"""Runs scripts one after the other in one process, each in a namespace of its own.

Each line of standard input is a script as a JSON string, and each line of standard output is the answer: what the
script printed, and what it raised. A script that takes longer than its time limit ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import sys
import traceback

TIME_LIMIT = 300.0  # seconds a script


def answer(script: str) -> dict[str, str | None]:
    printed, raised = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
        except Exception:
            raised = traceback.format_exc()
    return {"printed": printed.getvalue(), "raised": raised}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")  # whatever else writes to standard output goes to standard error
    os.dup2(2, 1)
    for line in sys.stdin:
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
