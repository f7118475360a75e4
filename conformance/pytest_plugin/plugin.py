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
        "help": "ask this framework (repeatable); without test paths nothing else is run, but for `addopts`",
    },
    "--normgauge-python": {
        "metavar": "PATH",
        "default": sys.executable,
        "help": "interpreter that has the framework (default: this one); write --normgauge-python=PATH: of a path that "
        "stands alone pytest thinks that it is one of the tests'",
    },
    "--normgauge-exec": {
        "metavar": "COMMAND",
        "help": "any program that speaks the worker protocol, in place of an adapter; it is started once more, to say "
        "what it has",
    },
    "--normgauge-implementation": {
        "action": "append",
        "metavar": "ID|PATTERN",
        "help": "only this one (repeatable); see `normgauge list`; * stands for any text, ? for one letter",
    },
    "--normgauge-dtype": {
        "action": "append",
        "metavar": "DTYPE",
        "help": "only this one (repeatable)",
    },
    "--normgauge-expectations": {
        "action": "append",
        "metavar": "FILE|FOLDER",
        "help": "known divergences, in place of those of normgauge (repeatable)",
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
            raise pytest.UsageError(f"{name} needs a framework to ask: add --normgauge FRAMEWORK")
