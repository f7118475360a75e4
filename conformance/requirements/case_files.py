"""Counterexamples on disk: stored by a run, replayed by the next, promoted to a committed case.

One JSON file each. The case is encoded as for a worker (docs/protocol.md); the rest is for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from normgauge.adapters.case import Case
from normgauge.adapters.worker.protocol import case_id, decode_case, encode_case
from normgauge.conformance.requirements.signature import Signature, stored_signature

#: Where the committed cases of this distribution are.
PROMOTED: Final = files("normgauge.conformance.requirements") / "cases"


class BrokenCase(ValueError):
    """A case file that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True, kw_only=True)
class StoredCase:
    """A counterexample as stored: where it departed and how, and the case."""

    implementation: str
    dtype: str
    signature: Signature
    plan: str
    sentence: str
    relation: str | None
    case: Case

    @property
    def id(self) -> str:
        return case_id(self.case)


def write_case(folder: Path, stored: StoredCase) -> Path:
    """Write ``stored`` into ``folder``, which is made if need be; named by its layer, the case's id, and the relation.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    relation = re.sub(r"[^a-zA-Z0-9]+", "-", f"-{stored.relation}") if stored.relation else ""
    path = folder / f"{stored.case.layer}-{stored.id}{relation}.json"
    content = {
        **{name: getattr(stored, name) for name in _TEXTS},
        "signature": msgspec.to_builtins(stored.signature),
        "case": encode_case(stored.case),
    }
    written = path.with_suffix(".part")  # another process may be reading the folder
    written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    written.replace(path)
    return path


_TEXTS: Final = ("implementation", "dtype", "plan", "sentence", "relation")


def read_case(path: Path) -> StoredCase:
    """Read one case file.

    Raises:
        BrokenCase: the file cannot be read or is no case file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _stored(content)
    except OSError as error:
        raise BrokenCase(f"{path} cannot be read: {error.strerror}; give a stored counterexample") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BrokenCase(f"{path} is no stored counterexample ({type(error).__name__}: {error}); remove it") from None


def read_folder(folder: Path) -> Iterator[tuple[Path, StoredCase]]:
    """Every case file below a folder, by name; none where there is no folder.

    Raises:
        BrokenCase: one of them cannot be read.
    """
    for path in sorted(folder.rglob("*.json")):
        yield path, read_case(path)


def promoted_cases() -> list[StoredCase]:
    """The committed cases of this distribution."""
    return [
        _stored(json.loads(entry.read_text(encoding="utf-8")))
        for entry in sorted(PROMOTED.iterdir() if PROMOTED.is_dir() else (), key=lambda entry: entry.name)
        if entry.name.endswith(".json")
    ]


def _stored(content: Mapping[str, Any]) -> StoredCase:
    texts = {name: content[name] for name in _TEXTS}
    signature = stored_signature(content["signature"])
    return StoredCase(case=decode_case(content["case"]), signature=signature, **texts)
