"""normgauge list: the frameworks and layers that can be measured."""

from __future__ import annotations

import importlib.metadata

import click
from rich.markup import escape
from rich.table import Table

from normgauge.conformance.cli.frameworks import loadable
from normgauge.conformance.cli.terminal import console_for


@click.command(name="list")
def list_() -> None:
    """List the frameworks and layers that can be measured, and the installed versions.

    Example: normgauge list
    """
    table = Table("framework", "installed here", "implementation", "layout", "mode", box=None, pad_edge=False)
    for name, adapter in loadable().items():
        if isinstance(adapter, str):
            table.add_row(name, "broken", escape(adapter), "", "")
            continue
        try:
            installed = importlib.metadata.version(adapter.distribution)
        except importlib.metadata.PackageNotFoundError:
            installed = "no"
        for number, implementation in enumerate(adapter.implementations):
            first = (name, installed) if number == 0 else ("", "")
            table.add_row(*first, escape(implementation.id), implementation.layout, implementation.way.about)
    console_for().print(table)
