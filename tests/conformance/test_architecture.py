"""docs/architecture.md against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TOP: Final = ("face", "oracle", "adapters", "conformance", "results", "reports")
#: Rooms that are one to everybody else.
FRAMEWORKS: Final = "adapters/<framework>"


def room_of(parts: list[str]) -> str:
    """The room of a module, given by its path below ``normgauge``."""
    if not parts or parts == ["face"]:
        return "face"
    inside = "/".join(parts[:2])
    if len(parts) == 1 or not (ROOT / inside / "__init__.py").is_file():
        return parts[0]
    is_framework = parts[0] == "adapters" and parts[1] not in {"worker", "callables"}
    return FRAMEWORKS if is_framework else inside


def arrows() -> dict[str, set[str]]:
    """Every room with the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in (path for top in TOP for path in (ROOT / top).rglob("*.py")):
        own = room_of([part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"])
        uses = found.setdefault(own, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            uses |= {room_of(name.split(".")[1:]) for name in named if name.split(".")[0] == "normgauge"}
        uses.discard(own)
    return found


def test_the_table_of_rooms_is_what_the_code_imports() -> None:
    table = PAGE.partition("| room | uses |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, flags=re.MULTILINE)
    assert {room: set(re.findall(r"`([^`]+)`", uses)) for room, uses in rows} == arrows()


def test_every_room_says_what_it_is_for() -> None:
    for path in (path for top in TOP for path in (ROOT / top).rglob("__init__.py")):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:oracle|adapters|conformance|reports|results|tests)/[\w/.]*)`", PAGE))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
