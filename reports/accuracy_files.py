"""Accuracy as files: tables in Markdown, and the pictures of the curves."""

from __future__ import annotations

from pathlib import Path

from normgauge.reports.grouping import asked_of, of_kind
from normgauge.reports.implementation_names import Names, told_apart
from normgauge.reports.page.accuracy import accuracy_of
from normgauge.reports.page.curves import curves_of
from normgauge.reports.templating import environment
from normgauge.results.folder import read_folder
from normgauge.results.records import Header, Profile, Series


def write_accuracy(results: Path, folder: Path) -> list[Path]:
    """Write the tables as Markdown, and the pictures beside it; the files.

    Raises:
        BrokenResults: as :func:`read_folder`.
        NoPictures: matplotlib is missing.
        OSError: a file cannot be written.
    """
    runs, _ = read_folder(results)
    ordered, releases = told_apart([*runs.values()])
    everything = [record for records in ordered for record in records]
    profiles = of_kind(everything, Profile)
    measured = profiles, of_kind(everything, Series), Names(profiles, releases)
    shown = accuracy_of(*measured, curves_of(*measured))
    headers = [one for one in of_kind(everything, Header) if one.versions]
    texts = {figure.file: f"{figure.svg}\n" for layer in shown for figure in layer.figures}
    page = environment(autoescape=False).get_template("accuracy.md")
    texts["accuracy.md"] = page.render(layers=shown, headers=headers, asked=asked_of(headers, ["curves"]))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
