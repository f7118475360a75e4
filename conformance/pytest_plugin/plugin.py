"""The pytest plugin: ``pytest --normgauge mlx`` asks every requirement of every implementation as a test.

Without the option it does nothing, and nothing else of this distribution is imported.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import pytest

#: The options, as argparse takes them.
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "--normgauge": {
        "action": "append",
        "metavar": "FRAMEWORK",
        "help": "check this framework, one test per requirement (repeatable); without test paths, pytest runs only "
        "these tests, except with `addopts`",
    },
    "--normgauge-python": {
        "metavar": "PATH",
        "default": sys.executable,
        "help": "Python interpreter in whose environment the framework is installed (default: this one); write it with "
        "=, --normgauge-python=PATH: pytest takes a separate path for a test path",
    },
    "--normgauge-exec": {
        "metavar": "COMMAND",
        "help": "program that follows the worker protocol, instead of an adapter; it also runs once at collection, "
        "to list its layers",
    },
    "--normgauge-implementation": {
        "action": "append",
        "metavar": "ID|PATTERN",
        "help": "check only this layer (repeatable); `normgauge list` shows the ids; * stands for any text, ? for one "
        "character",
    },
    "--normgauge-dtype": {
        "action": "append",
        "metavar": "DTYPE",
        "help": "check only this dtype (repeatable)",
    },
    "--normgauge-expectations": {
        "action": "append",
        "metavar": "FILE|FOLDER",
        "help": "list of known differences, instead of the one that normgauge ships (repeatable)",
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("normgauge", "conformance of GroupNorm and BatchNorm")
    for name, settings in OPTIONS.items():
        group.addoption(name, **settings)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--normgauge"):
        from normgauge.conformance.pytest_plugin.items import Conformance

        config.pluginmanager.register(Conformance(config), "normgauge-conformance")
        return
    for name, settings in OPTIONS.items():
        if config.getoption(name) not in (None, settings.get("default")):
            raise pytest.UsageError(f"{name} needs a framework to check; add --normgauge FRAMEWORK")
