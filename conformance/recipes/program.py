"""Runs the code of recipes where their framework is installed; it needs that and NumPy, and nothing of ours.

`python program.py FOLDER` reads jobs.json and inputs.npz of the folder, and writes answers.json and outputs.npz. A job
has the code of a recipe, the texts that turn arrays of NumPy into the framework's and back, the arguments of its layer,
the keys of the arrays of its state, and steps: a mode and the key of x.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np


def answered(job: dict[str, Any], inputs: Any, outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """What each step of a job gave: the keys of its arrays by name, or why it raised."""
    scope: dict[str, Any] = {}
    answers: list[dict[str, Any]] = []
    try:
        exec(compile(job["code"], "recipe", "exec"), scope)
        state = {name: inputs[key] for name, key in job["state"].items()}
        layer = scope["make_layer"](**job["arguments"], state=state)
        for number, (mode, key) in enumerate(job["steps"]):
            x = eval(job["native"], scope, {"x": inputs[key]})
            y = scope["call"](layer, x, mode == "train")
            found = {"output": eval(job["plain"], scope, {"x": y}), **scope["get_state"](layer)}
            keys = {name: f"{job['id']}/{number}/{name}" for name in found}
            outputs.update({keys[name]: np.array(value) for name, value in found.items()})
            answers.append({"arrays": keys})
    except Exception as error:  # whatever the code raises is an answer
        answers.append({"raised": f"{type(error).__name__}: {error}"[:500]})
    return answers


def main(folder: str) -> None:
    """Run every job of the folder."""
    with open(os.path.join(folder, "jobs.json"), encoding="utf-8") as file:
        jobs = json.load(file)
    outputs: dict[str, Any] = {}
    with np.load(os.path.join(folder, "inputs.npz")) as inputs:
        answers = [answered(job, inputs, outputs) for job in jobs]
    np.savez(os.path.join(folder, "outputs.npz"), **outputs)
    with open(os.path.join(folder, "answers.json"), "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(sys.argv[1])
