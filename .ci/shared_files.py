"""One copy on the disk of what several environments have installed. The standard library is enough."""

import contextlib
import csv
import filecmp
import os
import pathlib
import secrets

#: Smaller files, in bytes, are left as they are: there are many, and they need little.
SMALLEST = 16_384


def share(environment: pathlib.Path, store: pathlib.Path) -> None:
    """Make the large files of an environment the same files, by hard links, as equal ones of the other environments.

    ``store`` has one link to each, and must be on the same disk. pip writes a new file in place of the one it replaces,
    so what it does in one environment changes no other. Where the disk knows no hard links, everything stays as it is.
    """
    store.mkdir(parents=True, exist_ok=True)
    for path, name in large_files(environment):
        with contextlib.suppress(OSError):  # no hard links, or another session was faster
            link(path, store / name)
    for kept in store.iterdir():
        with contextlib.suppress(OSError):
            if kept.stat().st_nlink == 1:  # no environment has it any more
                kept.unlink()


def link(path: pathlib.Path, kept: pathlib.Path) -> None:
    """Make two files of equal content and permissions one; without the second, make it a link to the first."""
    if not kept.exists():
        os.link(path, kept)
        return
    ours, theirs = path.stat(), kept.stat()
    if os.path.samestat(ours, theirs) or ours.st_mode != theirs.st_mode or not filecmp.cmp(path, kept, shallow=False):
        return
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    os.link(kept, beside)
    os.replace(beside, path)


def large_files(environment: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """The large files that pip installed, each with a name in the store: the digest that the distribution notes."""
    found = []
    for record in environment.glob("**/site-packages/*.dist-info/RECORD"):
        for name, digest, size in csv.reader(record.read_text(encoding="utf-8").splitlines()):
            path = record.parents[1] / name
            if digest and size and int(size) >= SMALLEST and path.is_file() and not path.is_symlink():
                found.append((path, digest.replace("=", "-")))
    return found
