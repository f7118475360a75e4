"""Runs the steps of action.yml as GitHub does, but for those that need GitHub or the network."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).parents[2]
yaml: Any = importlib.import_module("yaml")
ACTION: Final[dict[str, Any]] = yaml.safe_load((PROJECT / "action.yml").read_text(encoding="utf-8"))
_EXPRESSION: Final = re.compile(r"\$\{\{ *(.*?) *\}\}")
#: The steps that a test cannot run: pip needs the network, upload-artifact needs GitHub.
LEFT_OUT: Final = ("Install normgauge", "Keep the report")


@dataclass(kw_only=True)
class Job:
    """One use of the action: its inputs, what GitHub would show of it, and the output and exit code of each step."""

    folder: Path
    inputs: Mapping[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text(encoding="utf-8")

    def run(self) -> Job:
        for step in ACTION["runs"]["steps"]:
            if step["name"] not in LEFT_OUT and self._wanted(step.get("if", "success()")):
                self._step(step)
        return self

    def _step(self, step: Mapping[str, Any]) -> None:
        files = {name: self.folder / name for name in ("script.sh", "summary.md", "output.txt")}
        files["script.sh"].write_text(step["run"], encoding="utf-8")
        files["output.txt"].write_text("", encoding="utf-8")
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        env = {
            **os.environ, "PATH": path, "GITHUB_ACTIONS": "true", "CI": "true",
            "GITHUB_STEP_SUMMARY": str(files["summary.md"]), "GITHUB_OUTPUT": str(files["output.txt"]),
            **{name: self._text(value) for name, value in step.get("env", {}).items()},
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(files["script.sh"])],
            cwd=self.folder / self._text(step["working-directory"]), env=env, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        lines = files["output.txt"].read_text(encoding="utf-8").splitlines()
        self.outputs[step["id"]] = dict(line.split("=", 1) for line in lines)
        self.printed[step["id"]], self.exits[step["id"]] = done.stdout, done.returncode

    def _text(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: self._value(found[1]), text)

    def _value(self, name: str) -> str:
        room, _, rest = name.partition(".")
        if room == "inputs":
            return self.inputs.get(rest, ACTION["inputs"][rest].get("default", ""))
        step, _, output = rest.split(".")
        return self.outputs.get(step, {}).get(output, "")

    def _wanted(self, condition: str) -> bool:
        """Whether GitHub would run a step with this condition; only the forms that action.yml has."""
        parts = _EXPRESSION.sub(r"\1", condition).split(" && ")
        if parts == ["success()"]:
            return not any(self.exits.values())
        assert parts[0] == "!cancelled()"
        return all(self._value(part.removesuffix(" != ''")) != "" for part in parts[1:])
