"""action.yml, the hook and the GitLab job: their commands run with bash on the NumPy adapter of the documentation."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from action import ACTION, LEFT_OUT, PROJECT, Job, yaml

pytestmark = pytest.mark.skipif(
    not (PROJECT / "action.yml").exists() or not shutil.which("bash"), reason="needs the checkout, and bash"
)
ADAPTER = (PROJECT / "docs" / "examples" / "numpy_adapter.py").read_text(encoding="utf-8")
INSIDE, OUTSIDE = "np.sqrt(variance + sets.dtype.type(self.eps))", "(np.sqrt(variance) + sets.dtype.type(self.eps))"
#: The smallest use of the action: one layer, one dtype, no random inputs.
SMALL = {
    "framework": "numpy_adapter:NumpyAdapter",
    "implementations": "numpy_adapter.GroupNorm\n",
    "dtypes": "float32\n",
    "budget": "none",
    "expectations": "known.toml",
}


def job(folder: Path, adapter: str, **inputs: str) -> Job:
    (folder / "numpy_adapter.py").write_text(adapter, encoding="utf-8")
    (folder / "known.toml").write_text("# no difference is known\n", encoding="utf-8")
    return Job(folder=folder, inputs=SMALL | inputs).run()


@pytest.fixture(scope="module")
def conforming(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job(tmp_path_factory.mktemp("conforming"), ADAPTER, baseline="torch@shipped")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, conforming: Job) -> Job:
    """The same layer on the next day, with another place of eps."""
    assert ADAPTER.count(INSIDE) == 1
    folder = tmp_path_factory.mktemp("faulty")
    shutil.copy(conforming.folder / conforming.outputs["measure"]["results"], folder / "before.jsonl")
    return job(folder, ADAPTER.replace(INSIDE, OUTSIDE), baseline="before.jsonl")


def test_a_layer_without_differences_passes_and_the_summary_compares_it_with_a_shipped_profile(conforming: Job) -> None:
    assert conforming.exits == {"measure": 0, "gate": 0, "baseline": 0, "report": 0}, conforming.printed
    assert conforming.outputs["gate"] == {"passed": "true"}
    assert "::error" not in conforming.printed["gate"]
    head, _, rest = conforming.summary.partition("\n# ")
    assert re.fullmatch(r"# normgauge\n\n```text\n0 known, 0 new, 0 gone, 0 changed, \d+ not checked\n```\n", head), (
        head
    )
    assert rest.startswith("torch@shipped and build/normgauge/measured.jsonl\n")
    assert "A torch.nn.GroupNorm, B numpy_adapter.GroupNorm" in rest
    assert "| difference | subject | dtypes | A | B | in numbers |" in rest
    assert (conforming.folder / "build" / "normgauge" / "report" / "index.html").exists()


def test_a_new_difference_fails_with_annotations_and_the_summary_says_what_is_newly_different(faulty: Job) -> None:
    assert faulty.exits == {"measure": 0, "gate": 1, "baseline": 0, "report": 0}, faulty.printed
    assert faulty.outputs["gate"] == {"passed": "false"}
    (annotation,) = [line for line in faulty.printed["gate"].splitlines() if " GN-01 " in line]
    assert annotation.startswith(
        "::error file=known.toml,title=normgauge%3A new::measured.jsonl: numpy_adapter.GroupNorm: float32: GN-01 "
    )
    assert "add an entry to known.toml" in annotation
    (line,) = [line for line in faulty.summary.splitlines() if line.startswith("new: ") and " GN-01 " in line]
    assert line.removeprefix("new: ") == annotation.rpartition("::")[2]
    (row,) = [line for line in faulty.summary.splitlines() if line.startswith("| newly different | where does eps")]
    assert "(inside_sqrt) | y = (x - mean) / (sqrt(var) + eps) (outside_sqrt)" in row


def test_a_mistake_in_an_input_ends_the_action_before_the_gate(tmp_path: Path) -> None:
    found = job(tmp_path, ADAPTER, dtypes="float31")
    assert found.exits == {"measure": 2}
    assert "'float31' is not one of" in found.printed["measure"]
    assert not (tmp_path / "summary.md").exists()


def test_every_input_is_read_and_none_is_pasted_into_a_script() -> None:
    steps = ACTION["runs"]["steps"]
    text = (PROJECT / "action.yml").read_text(encoding="utf-8")
    assert {name for name in ACTION["inputs"] if f"inputs.{name} " in text} == {*ACTION["inputs"]}
    assert [step["name"] for step in steps if "${{" in step.get("run", "")] == []
    assert {step["name"] for step in steps if step["name"] in LEFT_OUT} == {*LEFT_OUT}


def test_the_hook_fails_for_the_faulty_layer(faulty: Job) -> None:
    (hook,) = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    done = in_bash(faulty.folder, [f"{hook['entry']} {shlex.join(arguments_of_the_hook())} -k 'GN-01 or GN-02'"])
    assert done.returncode == 1, done.stdout
    assert re.search(r"1 failed, 1 passed, \d+ deselected", done.stdout), done.stdout
    assert "numpy_adapter.GroupNorm::GN-01" in done.stdout


def arguments_of_the_hook() -> list[str]:
    """The arguments on the page, for the adapter and the layer of these tests."""
    page = (PROJECT / "docs" / "ci.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "id: normgauge" in text]
    (repo,) = yaml.safe_load(block)["repos"]
    words = [word.replace("mine_adapter:MineAdapter", SMALL["framework"]) for word in repo["hooks"][0]["args"]]
    return [*words, "--normgauge-implementation", "numpy_adapter.GroupNorm"]


def test_the_gitlab_job_measures_compares_and_fails_at_the_gate(faulty: Job) -> None:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "docs/examples/gitlab-ci.yml").read_text(encoding="utf-8"))
    variables = found["normgauge"]["variables"] | {"FRAMEWORK": SMALL["framework"], "BASELINE": "before.jsonl"}
    _, measure, *rest = found["normgauge"]["script"]  # the first installs
    only = f"{measure} -i numpy_adapter.GroupNorm"
    shutil.rmtree(faulty.folder / "build")
    done = in_bash(
        faulty.folder, ["set -eo pipefail", *(f"{k}={shlex.quote(v)}" for k, v in variables.items()), only, *rest]
    )
    assert done.returncode == 1, done.stdout
    assert re.search(r"^new: .* GN-01 ", done.stdout, re.MULTILINE), done.stdout
    made = faulty.folder / "build" / "normgauge"
    assert "| newly different | where does eps" in (made / "changes.md").read_text(encoding="utf-8")
    assert (made / "report" / "index.html").exists()


def in_bash(folder: Path, commands: list[str]) -> subprocess.CompletedProcess[str]:
    script = "\n".join([f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", *commands])
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
