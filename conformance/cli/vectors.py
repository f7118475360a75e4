"""normgauge vectors: write the cases as files, and judge the answers that another program wrote."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

import normgauge
from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.cli.errors import Mistake, NotRunnable, make_folder
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.run import check_name, committed_cases, file_stem, write_records
from normgauge.conformance.cli.terminal import console_for
from normgauge.conformance.diagnosis.reference_store import default_store
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.gating.known_axes import known_choices
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.requirements.case_files import BrokenCase, StoredCase, read_folder
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted as RunWanted
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.vectors.answers import read_answers
from normgauge.conformance.vectors.export import CANONICAL, LARGEST, RANKS, Wanted
from normgauge.conformance.vectors.export import export as export_vectors
from normgauge.conformance.vectors.manifest import CASES, MANIFEST, BrokenVectors, read_manifest
from normgauge.conformance.vectors.replay import Played, play
from normgauge.conformance.vectors.semantics import choices_named
from normgauge.oracle import ACCURACY_CLASSES


@click.group()
def vectors() -> None:
    """Write the cases with expected values and bounds as files, and check the answers of another program.

    Example: normgauge vectors export build/vectors
    """


@vectors.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--layer", "layers", multiple=True, type=click.Choice(list(layer_kinds())), help="Only this layer (repeatable)."
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(DTYPES),
    help="Cases of this dtype (repeatable).  [default: float32]",
)
@click.option(
    "--rank",
    "ranks",
    multiple=True,
    type=click.Choice([str(one) for one in RANKS]),
    help="Only inputs with this number of dimensions, N and C included (repeatable).",
)
@click.option(
    "--semantics",
    multiple=True,
    default=[CANONICAL],
    show_default=True,
    metavar="NAME",
    help="Semantics whose values and bounds are written (repeatable): canonical, a layer or a framework from "
    "`normgauge list`, or AXIS=VALUE,AXIS=VALUE.",
)
@click.option(
    "--accuracy",
    default=ACCURACY_CLASSES[-1],
    show_default=True,
    type=click.Choice(ACCURACY_CLASSES),
    help="Accuracy class of the bounds.",
)
@click.option(
    "--largest",
    default=LARGEST,
    show_default=True,
    type=click.IntRange(1),
    help="Number of input values that a case has at most. Larger cases are left out.",
)
@click.option(
    "--cases",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of counterexamples that `normgauge run` stored, or of committed cases (repeatable).",
)
@ended_by_signals()
def export(  # noqa: PLR0913, PLR0917 - an argument for each option
    folder: Path,
    layers: tuple[str, ...],
    dtypes: tuple[str, ...],
    ranks: tuple[str, ...],
    semantics: tuple[str, ...],
    accuracy: str,
    largest: int,
    cases: tuple[Path, ...],
) -> None:
    """Write the cases of the experiments into FOLDER, as safetensors with a manifest in JSON.

    The manifest has a JSON Schema beside it. Cases that exploration found once are part of the set. The same release
    writes the same bytes.

    Example: normgauge vectors export build/vectors --dtype float32
    """
    if importlib.util.find_spec("safetensors") is None:
        raise NotRunnable("vectors are written with safetensors: python -m pip install 'normgauge[safetensors]'")
    wanted_layers = tuple(one for one in layer_kinds() if one in layers or not layers)
    wanted = Wanted(
        suite=normgauge.__version__,
        layers=wanted_layers,
        dtypes=tuple(one for one in DTYPES if one in (dtypes or ("float32",))),
        ranks=tuple(one for one in RANKS if str(one) in ranks or not ranks),
        semantics={name: _choices(name, wanted_layers) for name in semantics},
        accuracy=accuracy,
        largest=largest,
        cases=tuple(committed_cases(cases)),
    )
    _make_empty(folder)
    with closing(References(default_store())) as references:
        try:
            found = export_vectors(folder, wanted, references)
        except OSError as error:
            raise Mistake(f"cannot write {folder}: {error.strerror}; give another folder") from None
    for one in found.left_out:
        click.echo(f"left out: {sum(one.cases.values())} cases of {', '.join(one.cases)}: {one.why}")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"vectors: {folder / MANIFEST}: {len(found.cases)} cases, {size / 1e6:.1f} MB")


def _make_empty(folder: Path) -> None:
    """Make the folder; one with an earlier set keeps no file of it."""
    make_folder(folder, option="FOLDER")
    if any(folder.iterdir()):
        try:
            read_manifest(folder)  # a folder of results has a file of this name, too
        except BrokenVectors:
            raise Mistake(f"{folder} has files and no set of vectors; give a new folder") from None
    for path in [*folder.glob("*.safetensors"), *folder.glob(f"{CASES}/*.json")]:
        path.unlink()


def _choices(name: str, layers: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    try:
        if name == CANONICAL or "=" in name.partition("(")[0]:
            return choices_named(name, layers)
        return known_choices(name, load_expectations())
    except ValueError as error:
        raise Mistake(f"--semantics {name}: {error}") from None


@vectors.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("build/results"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the result file, which `normgauge gate` and `normgauge report` read.",
)
@click.option("--name", help="Name of the result file without its suffix.  [default: framework in answers.json]")
@ended_by_signals()
def judge(folder: Path, answers: Path, out: Path, name: str | None) -> None:
    """Diagnose the answers of another program to the vectors in FOLDER, as if it had run as a worker.

    ANSWERS is a folder with .safetensors files whose tensors are named CASE/STEP/QUANTITY, or with files
    CASE/STEP/QUANTITY.npy. An optional answers.json names the layers and the exceptions. Each missing or malformed
    answer is a line. A case without an answer is not measured, and never wrong.

    Exit codes: 0 success, with or without differences; 2 a mistake in the command or a broken file; 3 no layer could be
    checked.

    Example: normgauge vectors judge build/vectors answers
    """
    with _one_line():
        played, cases = _read(folder, answers)
    framework = played.answers.notes.framework
    check_name(name, [framework])
    make_folder(out)
    for line in played.lines:
        click.echo(line)
    if not played.dtypes:
        raise NotRunnable(f"nothing to check: no case of {folder} has an answer in {answers}")
    dtypes = tuple(one for one in DTYPES if any(one in own for own in played.dtypes.values()))
    wanted = RunWanted(dtypes=dtypes, cases=cases)
    subject = functools.partial(Played.subject, played)
    records = run_framework(Launch(framework=framework), wanted, subject=subject)
    path = out / f"{name or file_stem(framework)}.jsonl"
    try:
        complete = write_records(records, path, console_for(stderr=False))
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    if not complete:
        raise NotRunnable("some layers could not be checked; the lines above name them, with the reason")


def _read(folder: Path, answers: Path) -> tuple[Played, tuple[StoredCase, ...]]:
    manifest = read_manifest(folder)
    cases = tuple(stored for _, stored in read_folder(folder / CASES))
    return play(manifest, read_answers(answers), cases), cases


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (BrokenVectors, BrokenCase) as error:
        raise Mistake(str(error)) from None
