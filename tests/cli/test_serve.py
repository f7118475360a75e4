"""normgauge serve: the page of a folder as it is now."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path

from pages import judgement, run, write

from normgauge.conformance.cli.serve import server_for


def test_a_page_that_is_served_follows_the_folder(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", tmp_path / "page"
    results.mkdir()
    folder.mkdir()
    whole = write(results / "torch.jsonl", run(judgement(), judgement(requirement="GN-03"))).read_bytes()
    (results / "torch.jsonl").write_bytes(whole[: whole.index(b"GN-03")])
    with server_for(results, folder, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def page(path: str = "/") -> tuple[str, str | None]:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}{path}") as answer:
                return answer.read().decode(), answer.headers["Refresh"]

        before, _ = page()
        (results / "torch.jsonl").write_bytes(whole)
        after, refresh = page("/?follow")
        server.shutdown()
    assert "The run of torch did not finish." in before
    assert "GN-03" not in before
    assert "The run of torch did not finish." not in after
    assert "GN-03 grouping" in after
    assert refresh == "5"
