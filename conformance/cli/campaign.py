"""normgauge campaign: measure several frameworks, releases and seeds as tasks of Dask distributed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.progress import Progress

from normgauge.adapters.registry import NoAdapter, load_adapter
from normgauge.conformance.cli.errors import Mistake, NotRunnable, make_folder
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.output_options import Output, with_output_options
from normgauge.conformance.cli.size_options import sizes_of
from normgauge.conformance.cli.terminal import console_for, progress_on, tell
from normgauge.conformance.run.parallel import processors
from normgauge.conformance.run.request import OwnSize
from normgauge.results.grounds import ALWAYS_COUNTED, in_words

if TYPE_CHECKING:
    from normgauge.conformance.campaign.environments import Environment
    from normgauge.conformance.campaign.events import Event
    from normgauge.conformance.campaign.plan import Shape

#: What the extra installs and a campaign imports.
_NEEDED: Final = ("dask", "distributed", "filelock")


class _Commands(click.Group):
    """`normgauge campaign PLAN` means `normgauge campaign run PLAN`."""

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(context, words if words[0] in self.commands else ["run", *words])

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        if words and words[0].startswith("-") and words[0] not in context.help_option_names:
            words = ["run", *words]  # an option of it stands before the plan
        return super().parse_args(context, words)


@click.group(cls=_Commands)
def campaign() -> None:
    """Measure several frameworks, releases and seeds, on this machine or on a cluster.

    `normgauge campaign PLAN` is short for `normgauge campaign run PLAN`.

    Example: normgauge campaign plan.toml --out build/campaign
    """


@campaign.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("build/campaign"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the campaign. If it has results of the same plan, they are kept, and the rest is measured.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of Dask that runs elsewhere, such as tcp://10.0.0.1:8786.  [default: a cluster on this machine]",
)
@click.option(
    "--jobs",
    default=processors(),
    show_default="number of processors",
    type=click.IntRange(1),
    help="Number of shards that this machine measures at the same time, without --scheduler.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of stored counterexamples. Those that are there when the campaign begins are run again first.  "
    "[default: counterexamples in --out]",
)
@with_output_options(
    quiet="Print nothing but what could not be run.",
    json="Print one JSON object per line on stdout: each environment, shard and result file, as soon as it is there.",
)
@ended_by_signals()
def run(plan: Path, out: Path, scheduler: str | None, jobs: int, store: Path | None, output: Output) -> None:
    """Measure what PLAN names, and write one result file per environment.

    PLAN is a TOML file. Each layer at each dtype is a task with some seeds. A task whose worker ends is run again.
    An interrupted campaign continues where it was, with the same command.

    Example: normgauge campaign run plan.toml --scheduler tcp://10.0.0.1:8786
    """
    _check_installed()
    from normgauge.conformance.campaign.environments import environments_of
    from normgauge.conformance.campaign.folder import BrokenCampaign, Place
    from normgauge.conformance.campaign.plan import BrokenPlan, read_plan
    from normgauge.conformance.campaign.runner import NoCluster, Runner, Where, client_of

    try:
        asked = read_plan(plan)
        environments = environments_of(asked, str(plan))
        sizes = _sizes(asked.shapes, plan)
        _check_frameworks(environments, plan)
    except BrokenPlan as error:
        raise Mistake(str(error)) from None
    make_folder(out)
    place = Place(out)
    console = console_for(stderr=True)
    try:
        with place.alone(), progress_on(console, quiet=output.quiet) as bars:
            begun = place.opened(asked, environments, store or out / "counterexamples")
            with client_of(Where(scheduler=scheduler, jobs=jobs)) as client:
                shown = _Shown(bars, quiet=output.quiet, as_json=output.as_json)
                whole = Runner(place=place, campaign=begun, sizes=sizes, client=client, tell=shown.tell).run()
    except BrokenCampaign as error:
        raise Mistake(str(error)) from None
    except NoCluster as error:
        raise NotRunnable(str(error)) from None
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues the campaign", highlight=False, soft_wrap=True)
        raise
    if not whole:
        raise NotRunnable("some layers could not be run, or do not agree; the lines above name them, with the reason")


@campaign.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: each environment with its counts.")
def status(folder: Path, as_json: bool) -> None:
    """Show how far the campaign in FOLDER is, from its files.

    Example: normgauge campaign status build/campaign
    """
    _check_installed()
    from normgauge.conformance.campaign.folder import BrokenCampaign
    from normgauge.conformance.campaign.status import status_of

    try:
        found = status_of(folder)
    except BrokenCampaign as error:
        raise Mistake(str(error)) from None
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
        return
    click.echo(f"{found.folder}: {'a campaign works here' if found.works else 'no campaign works here now'}")
    for one in found.environments:
        if one.reason:
            click.echo(f"{one.name}: not run: {one.reason}")
        elif one.shards is None:
            click.echo(f"{one.name}: its environment is not ready")
        else:
            click.echo(
                f"{one.name}: {one.done} of {one.shards} shards done, {one.core_seconds / 3600:.3f} core hours, "
                f"{_counted(one.not_run, 'row')} not run, {_counted(one.counterexamples, 'counterexample')}"
            )
        for label in one.begun:
            click.echo(f"  at work: {label}")


def _check_installed() -> None:
    """Reject an installation without the extra."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunnable(
            f"normgauge campaign needs {', '.join(missing)}; install the extra: pip install 'normgauge[campaign]'"
        )


def _sizes(shapes: list[Shape], plan: Path) -> tuple[OwnSize, ...]:
    """The shapes of a plan, checked as the options of `normgauge run` are."""
    try:
        return tuple(size for one in shapes for size in sizes_of((",".join(map(str, one.shape)),), one.groups))
    except Mistake as mistake:
        raise Mistake(f"{plan}: {mistake.message.replace('--', '')}") from None


def _check_frameworks(environments: list[Environment], plan: Path) -> None:
    """Reject a framework without an adapter, before anything is made."""
    for framework in {one.framework for one in environments}:
        try:
            load_adapter(framework)
        except NoAdapter as error:
            raise Mistake(f"{plan}: {error}") from None


class _Shown:
    """The events of a campaign on a terminal, with a bar for each environment, or as JSON."""

    def __init__(self, bars: Progress, *, quiet: bool, as_json: bool) -> None:
        self._bars, self._quiet, self._as_json = bars, quiet, as_json
        self._tasks: dict[str, Any] = {}

    def tell(self, event: Event) -> None:
        if self._as_json:
            click.echo(msgspec.json.encode(event))
        else:
            for line in self._lines(event):
                tell(self._bars.console, line, markup=False)

    def _lines(self, event: Event) -> list[str]:
        from normgauge.conformance.campaign import events

        shown: dict[type, Callable[[Any], list[str]]] = {
            events.Begun: self._begun,
            events.EnvironmentReady: self._environment,
            events.ShardDone: self._shard,
            events.Merged: self._merged,
        }
        return shown[type(event)](event)

    def _begun(self, event: Any) -> list[str]:
        if self._quiet:
            return []
        return [f"{_counted(event.workers, 'worker')}, dashboard: {event.dashboard}"]

    def _environment(self, event: Any) -> list[str]:
        if event.reason:
            return [f"not run {event.name}: {event.reason}"]
        self._tasks[event.name] = self._bars.add_task(event.name, total=event.shards, completed=event.done)
        if self._quiet:
            return []
        made = f", environment made in {event.seconds:.1f} s" if event.made else ""
        done = f", {event.done} of them done before" if event.done else ""
        return [f"{event.name}: {_counted(event.shards, 'shard')}{done}{made}"]

    def _shard(self, event: Any) -> list[str]:
        self._bars.advance(self._tasks[event.environment])
        name = f"{event.environment}: {event.implementation} {event.dtype}, seed {event.seed}"
        lines = [f"not run {name}; its result file has the reason"] if event.not_run else []
        if self._quiet:
            return lines
        lines += [f"{name}: measured at attempt {event.attempts}"] if event.attempts > 1 and not event.not_run else []
        return lines + ([f"{name}: {_counted(event.counterexamples, 'counterexample')}"] * bool(event.counterexamples))

    def _merged(self, event: Any) -> list[str]:
        if event.reason:
            return [f"no results of {event.name}: {event.reason}"]
        if self._quiet:
            return []
        counts = in_words(event.departures, ALWAYS_COUNTED)
        found = _counted(event.counterexamples, "counterexample")
        hours = event.core_seconds / 3600
        return [f"{event.name}: {counts}, {found}, {hours:.3f} core hours", f"results: {event.file}"]


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
