"""normgauge new-adapter: a project that has an adapter and can be run at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import jinja2

from normgauge.adapters.registry import BUILT_IN
from normgauge.conformance.cli.errors import Mistake, make_folder

#: The files by their names, with the template and the purpose of each.
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "{module}.py": ("adapter.py.jinja", "the adapter, and two layers in NumPy to replace with yours"),
    "known.toml": ("known.toml.jinja", "the list of known differences"),
    "test_{module}.py": ("test.py.jinja", "tests: the form of the adapter, and one test for each requirement"),
    "pyproject.toml": ("pyproject.toml.jinja", "the entry point that gives the framework its name"),
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


@click.command("new-adapter")
@click.argument("name")
@click.option("--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Folder for the files.  [default: NAME]")
def new_adapter(name: str, out: Path | None) -> None:
    """Write an adapter for your own layers, with its tests, as a project that runs at once.

    NAME is the name of your framework in commands and reports: lower-case letters, digits and hyphens. The files have
    a GroupNorm and a BatchNorm in NumPy. Run them first; then replace the layers with yours. No file is overwritten.

    Example: normgauge new-adapter mine
    """
    if not _NAME.fullmatch(name):
        raise Mistake(f"NAME is {name!r}; allowed are lower-case letters, digits and hyphens, such as my-framework")
    if name in BUILT_IN:
        raise Mistake(f"NAME is {name!r}, which normgauge has; choose another, such as my-{name}")
    folder = out or Path(name)
    files = {path: (text, what) for path, text, what in _written(name)}
    there = [path for path in files if (folder / path).exists()]
    if there:
        raise Mistake(f"{folder / there[0]} exists, and no file is overwritten; give another folder with --out")
    make_folder(folder)
    for path, (text, what) in files.items():
        (folder / path).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / path}: {what}")
    module, adapter = names_of(name)
    click.echo(f"next: cd {folder} && normgauge check {module}:{adapter} && python -m pytest")


def names_of(name: str) -> tuple[str, str]:
    """The names of the module and of the adapter's class."""
    return f"{name.replace('-', '_')}_adapter", f"{''.join(part.capitalize() for part in name.split('-'))}Adapter"


def rendered(template: str, name: str, *, source: str | None = None) -> str:
    """The text of one file; ``source`` is the place that a layer's missing features are documented."""
    module, adapter = names_of(name)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normgauge.conformance.cli"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    values = {"name": name, "module": module, "adapter": adapter, "source": source or f"{module}.py"}
    return environment.get_template(template).render(values)


def _written(name: str) -> list[tuple[str, str, str]]:
    """The path, the text and the purpose of each file."""
    module, _ = names_of(name)
    return [(path.format(module=module), rendered(template, name), what) for path, (template, what) in _FILES.items()]
