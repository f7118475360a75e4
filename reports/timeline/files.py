"""The timeline as files: a page, its picture, its tables in Markdown, and the full report on the releases."""

from __future__ import annotations

from pathlib import Path

from normgauge.reports.page.page import write_report
from normgauge.reports.templating import environment
from normgauge.reports.timeline.history import Timeline, read_timeline
from normgauge.reports.timeline.picture import picture_of


def write_timeline(results: Path, folder: Path) -> tuple[Timeline, list[Path]]:
    """Write the page, its picture, its tables in Markdown, and the full report; the timeline and the files.

    Raises:
        BrokenResults: as :func:`read_timeline`.
        NoPictures: matplotlib is missing.
        OSError: a file cannot be written.
    """
    timeline = read_timeline(results)
    picture = f"timeline-{timeline.framework}.svg"
    svg = picture_of(timeline)
    shown = {"timeline": timeline, "svg": svg, "picture": picture}
    texts = {
        "index.html": environment().get_template("timeline.html").render(shown),
        picture: f"{svg}\n",
        "timeline.md": environment(autoescape=False).get_template("timeline.md").render(shown),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return timeline, [*(folder / name for name in texts), write_report(results, folder / "report.html")]
