"""The sessions. `nox -s conformance` measures every framework, each in its own environment, then reports.

`nox -j 2` does the same with two frameworks at a time. An environment that holds what is asked for is left as it is.

What follows `--` goes to `normgauge run`, except:
`nox -j 2 -s conformance -- --few` is what continuous integration measures;
`nox -s "conformance(mlx)" -- --with "mlx[cpu]==0.31.2"` measures another release, beside the pinned one;
`nox -s timeline -- mlx` measures a selection of releases (all: `-- mlx --all`; these: `-- mlx 0.31.2 0.32.4`);
`nox -s findings` takes parts of file names (`-- bfloat16`), `--write`, and other releases (`-- --with "mlx==0.31.2"`).
"""

import itertools
import json
import os
import pathlib
import re
import shutil
import sys

import nox
from nox.command import CommandFailed
from packaging.version import InvalidVersion, Version

sys.path.insert(0, str(pathlib.Path(__file__).parent / ".ci"))
import environments
import releases

nox.needs_version = ">=2026.8.10"  # the first with -j
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["conformance", "report"]

ROOT = pathlib.Path(__file__).parent
PROJECT = releases.PROJECT
#: Every group of pins named like a registered adapter is a framework.
FRAMEWORKS = list(PROJECT["project"]["entry-points"]["normgauge.adapters"])
RESULTS = pathlib.Path("build/results")
TIMELINES = pathlib.Path("build/timeline")
SITE = pathlib.Path("build/site")
LINKS = pathlib.Path("build/links")
#: What `lint` runs, by the names of .pre-commit-config.yaml.
LINTERS = {
    "ruff": [["ruff", "check", "."], ["ruff", "format", "--check", "."]],
    "imports": [["lint-imports"]],
    "spelling": [["typos"]],
    "toml": [["tombi", "lint", "--offline", "--quiet", "."]],
    "host": [
        ["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, ROOT.glob(files))]
        for schema, files in (
            ("github-actions", "action.yml"),
            ("github-workflows", ".github/workflows/*.yml"),
            ("github-issue-forms", ".github/ISSUE_TEMPLATE/[0-9]*.yml"),
            ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
            ("renovate", ".github/renovate.json"),
            ("citation-file-format", "CITATION.cff"),
            ("gitlab-ci", "docs/examples/gitlab-ci.yml"),
        )
    ],
}
#: What `--few` measures, with an eighth of the default's random inputs: JAX compiles anew for the second half type.
DTYPES = ("float32", "float64", "float16", "bfloat16")
FEW_DTYPES = dict.fromkeys(("flax", "keras-jax"), ("float32", "float64", "bfloat16"))
#: The result files that the tests may take in place of measuring.
MEASURED = pathlib.Path("build/measured")


@nox.session(allow_parallel=True)
@nox.parametrize("framework", FRAMEWORKS, ids=FRAMEWORKS)
def conformance(session: nox.Session, framework: str) -> None:
    """Measure one framework, write its result file, compare it with the list of known differences; then the report."""
    if not session.parallel:  # side by side, nox takes no notice; the report is a session to name
        session.notify("report")
    few = session.posargs == ["--few"]
    named, options = releases.taken("--with", few_inputs(framework) if few else session.posargs)
    try:
        requirements, name = releases.asked(framework, named)
    except releases.Mistake as mistake:
        session.error(str(mistake))
    note(RESULTS, name, "its environment could not be installed; nox printed why")
    for old in (code_of(name), RESULTS / f"{name}.jsonl"):
        old.unlink(missing_ok=True)
    where = ["--name", name]
    try:
        if named or framework in environments.PYTHON:
            where += ["--python", environments.worker(session, framework, name, requirements)]
            code = environments.install(session)
        else:
            code = environments.install(session, *requirements)
    except environments.NoPython as missing:
        note(RESULTS, name, str(missing))
        session.skip(str(missing))
    except environments.NotInstalled as failed:
        note(RESULTS, name, str(failed))
        session.error(str(failed))
    except CommandFailed:
        session.error(f"{framework} could not be installed; its row in the report says so")
    note(RESULTS, name, "its run did not start; nox printed why")
    session.run("normgauge", "run", framework, *where, "--out", str(RESULTS), *options)
    if code and (few or not session.posargs) and (RESULTS / f"{name}.jsonl").exists():  # not with --install-only
        code_of(name).write_text(code)
    session.run("normgauge", "gate", str(RESULTS / f"{name}.jsonl"))


def few_inputs(framework: str) -> list[str]:
    """The options of `normgauge run` with which continuous integration measures a framework."""
    dtypes = FEW_DTYPES.get(framework, DTYPES)
    return ["--budget", "quick", *(word for dtype in dtypes for word in ("--dtype", dtype))]


@nox.session
def timeline(session: nox.Session) -> None:
    """Measure several releases of one framework and report the changes: -- mlx, -- mlx 0.31.2 0.32.4."""
    environments.install(session, *releases.pins("pictures"))
    try:
        framework, wanted, options = chosen(session)
    except releases.Mistake as mistake:
        session.error(str(mistake))
    folder = TIMELINES / framework
    for old in (folder / MANIFEST, *folder.glob("*.jsonl")):
        old.unlink(missing_ok=True)
    for release in wanted:
        requirements, name = releases.asked(framework, [releases.requirement_of(framework, release)])
        try:
            python = environments.worker(session, framework, name, requirements)
        except environments.NoPython as missing:
            session.error(str(missing))
        except environments.NotInstalled as failed:
            note(folder, name, str(failed))
            continue
        note(folder, name, "its run did not start; nox printed why")
        command = ["normgauge", "run", framework, "--name", name, "--python", python, "--out", str(folder), *options]
        session.run(*command, success_codes=[0, 1, 3])  # 2 is a mistake in the options, alike for every release
    session.run("normgauge", "timeline", str(folder))


@nox.session(allow_parallel=True)
def report(session: nox.Session) -> None:
    """Write build/report/index.html from the result files."""
    environments.install(session, *releases.pins("pictures"))
    session.run("normgauge", "report", str(RESULTS), "--out", "build/report")


@nox.session
def tests(session: nox.Session) -> None:
    """Test the project itself, installed as a user has it, with the real frameworks beside it.

    What `conformance` measured with the same code is not measured again, if the releases are the same too.
    """
    code = environments.install(session, *releases.pins("test", "ci", "pictures", "campaign", *of_this_python()))
    environment = {
        "NORMGAUGE_REQUIRE_FRAMEWORKS": "1",
        "NORMGAUGE_MEASURED": str(measured_with(code, of_this_python())),
    }
    session.run("python", "-m", "pytest", *session.posargs, env=environment)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests, and fail where they run fewer lines than the floor in pyproject.toml; `--` goes to pytest.

    It measures everything, so it takes longer than `tests`. The table names the lines that no test runs.
    """
    environments.install(session, *releases.pins("test", "ci", "pictures", "campaign", "coverage", *of_this_python()))
    shutil.rmtree("build/coverage", ignore_errors=True)
    environment = {"NORMGAUGE_REQUIRE_FRAMEWORKS": "1"}
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=environment)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "html", "--directory", "build/coverage/html", "--quiet", "--fail-under", "0")
    session.run("coverage", "report")


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Ruff, the import contract, spelling, TOML, and the files of the host: all, or those named (`-- ruff toml`)."""
    unknown = [word for word in session.posargs if word not in LINTERS]
    if unknown:
        session.error(f"nox -s lint -- {unknown[0]}: not known; allowed: {', '.join(LINTERS)}")
    environments.install(session, *releases.pins("lint"))
    for name in session.posargs or LINTERS:
        for command in LINTERS[name]:
            session.run(*command)


@nox.session(allow_parallel=True)
def types(session: nox.Session) -> None:
    """mypy, strict, on the installed packages, then on the tests and the examples of the site."""
    environments.install(session, *releases.pins("types"))
    session.run("mypy", "-p", "normgauge")
    session.run("mypy", "tests")
    session.run("mypy", "docs/examples")


@nox.session(allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Build the documentation site, build/site/index.html; a warning or a broken link within the site is an error.

    The report of build/results is in it where result files are there. `-- --external` follows the links to other sites
    instead, which needs the network, and names each broken one with its page and line.
    """
    environments.install(session, *releases.pins("docs", "pictures"))
    others = [word for word in session.posargs if word != "--external"]
    if others:
        session.error(f"nox -s docs -- {' '.join(others)}: not known; allowed: --external")
    sphinx = ["sphinx-build", "--fresh-env", "--fail-on-warning", "--keep-going", "--quiet"]
    if session.posargs:
        session.run(*sphinx, "--builder", "linkcheck", "docs", str(LINKS), success_codes=[0, 1])
        found = [json.loads(line) for line in (LINKS / "output.json").read_text(encoding="utf-8").splitlines()]
        broken = [one for one in found if one["status"] in {"broken", "timeout"}]
        for one in broken:
            session.log(f"{one['status']}: {one['uri']} (docs/{one['filename']}:{one['lineno']}): {one['info']}")
        if broken:
            session.error(f"{len(broken)} of {len(found)} links are broken; mend each in the file that is named above")
        session.log(f"{len(found)} links, none broken")
        return
    shutil.rmtree(SITE, ignore_errors=True)
    sample = [*RESULTS.glob("*.jsonl")]
    session.run(*sphinx, *(["--tag", "sample_report"] if sample else []), "docs", str(SITE))
    if sample:
        session.run("normgauge", "report", str(RESULTS), "--out", str(SITE / "sample-report"))


@nox.session(name="wheel")
def check_wheel(session: nox.Session) -> None:
    """Build the distributions into dist/, and check the wheel in an environment that has nothing else."""
    environments.install(session, *releases.pins("release"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", ".", silent=True)
    session.run("twine", "check", "--strict", *map(str, pathlib.Path("dist").iterdir()))
    folder = pathlib.Path(session.create_tmp())
    shutil.rmtree(folder / "bare", ignore_errors=True)
    session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder / "bare"), external=True)
    scripts = folder.resolve() / "bare" / ("Scripts" if os.name == "nt" else "bin")
    (built,) = pathlib.Path("dist").glob("*.whl")
    session.run(str(scripts / "python"), "-m", "pip", "install", "--quiet", str(built), external=True)
    shutil.copy2("docs/examples/numpy_adapter.py", folder)
    command = str(scripts / "normgauge")
    with session.chdir(folder):  # where no checkout is
        session.run(command, "--version", external=True)
        session.run(command, "list", external=True)
        session.run(command, "run", "numpy_adapter:NumpyAdapter", "--name", "numpy", "--budget", "none", external=True)
        session.run(command, "report", external=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure the cost of the suite's parts, as ratios that are measured side by side."""
    environments.install(session, *releases.pins("torch", "pictures"))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    session.run("python", "benchmarks/oracle_cost.py", *session.posargs, env=one_thread)
    session.run("python", "benchmarks/exploration_speed.py", env=one_thread)
    session.run("python", "benchmarks/growth.py", "--figure", "build/cost-growth.svg", env=one_thread)


@nox.session
def soak(session: nox.Session) -> None:
    """Compare correct implementations with the error bounds of their class, millions of elements each."""
    environments.install(session)
    session.run("python", "tests/support/soak.py", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Search for the largest error/bound of any correct form: -- --seconds 3600 --seed 1."""
    environments.install(session, *releases.pins("audit"))
    session.run("python", "tests/support/audit.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Run every fault of tests/faulty/faults through the suite, and through three other ways of testing.

    `-- --write docs/mutants.md` keeps the table and the figures of the report; `-- --only eps` takes the faults that
    have it in their id or family.
    With `-- --automatic` the mutants that cosmic-ray makes of two plain layers run instead, through the suite alone:
    `-- --automatic --write docs/automatic-mutants.md`.
    """
    words = [word for word in session.posargs if word != "--automatic"]
    script = "mutation_table.py" if words == session.posargs else "automatic_mutants.py"
    environments.install(session, *releases.pins("torch", "mutants"))
    environment = {"PYTHONPATH": os.pathsep.join(["tests", "tests/support"])}
    session.run("python", f"tests/support/{script}", *words, env=environment)


@nox.session
def correct(session: nox.Session) -> None:
    """Explore correct layers in six styles, from three seeds: every verdict must be `conforms`."""
    environments.install(session)
    session.run("python", "tests/support/explore_correct.py", *session.posargs)


@nox.session
def remedies(session: nox.Session) -> None:
    """Apply every remedy to its layers, from the result files of build/results or from the named ones."""
    environments.install(session, *releases.pins("test", "ci", *of_this_python()))
    environment = {"PYTHONPATH": os.pathsep.join(["tests", "tests/support"])}
    session.run("python", "tests/support/remedied.py", *(session.posargs or [str(RESULTS)]), env=environment)


@nox.session
def ports(session: nox.Session) -> None:
    """Measure the ports of examples/, and compare each with its own list: TensorFlow.js, and a kernel in C."""
    environments.install(session, *releases.pins("test"))
    for program in ("node", "npm", "gcc"):
        if shutil.which(program) is None:
            session.error(f"{program} is not on PATH; the ports of examples/ need node, npm, and gcc with Jansson")
    results, made = pathlib.Path("build/ports"), pathlib.Path(session.create_tmp()).resolve()
    tensorflow_js(session)
    for name in ("worker", "check_kernel"):
        source, options = f"examples/c/{name}.c", ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
        session.run("gcc", *options, "-o", str(made / name), source, "-ljansson", "-lm", external=True)
    run = ["normgauge", "run", "--budget", "none"]
    node = f"node {ROOT / 'examples/tfjs/worker.mjs'}"
    session.run(*run, "tfjs", "--dtype", "float32", "--exec", node, "--out", str(results / "tfjs"))
    c = ["--dtype", "float32", "--dtype", "float64", "--exec", str(made / "worker")]
    session.run(*run, "c", *c, "--out", str(results / "c"))
    vectors, answers = made / "vectors", made / "answers"
    answers.mkdir(exist_ok=True)
    session.run("normgauge", "vectors", "export", str(vectors), "--layer", "group_norm")
    session.run(str(made / "check_kernel"), str(vectors), "right", str(answers), external=True)
    session.run("normgauge", "vectors", "judge", str(vectors), str(answers), "--out", str(results / "c"))
    for name in ("tfjs", "c"):
        session.run("normgauge", "gate", str(results / name), "--expectations", f"examples/{name}/known.toml")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send edited hellos and answers of real workers to the host: -- --seconds 3600 --seed 1."""
    environments.install(session)
    session.run("python", "tests/support/fuzz.py", *session.posargs)


@nox.session
def findings(session: nox.Session) -> None:
    """Run the scripts of docs/findings and docs/upstream in the environments of `conformance`, and compare.

    With `-- --write` what they print, and docs/findings.md, are written. With `-- --with "torch==2.14.0"` the scripts
    of the frameworks that are made of torch run, with that release; those that differ are gone or changed in it.
    """
    named, words = releases.taken("--with", session.posargs)
    pythons = {}
    for framework in FRAMEWORKS:
        own = [text for text in named if releases.made_of(framework, text)]
        if named and not own:
            continue
        try:
            pythons[framework] = environments.bare(session, framework, own)
        except releases.Mistake as mistake:
            session.error(str(mistake))
        except environments.NotInstalled as failed:
            session.warn(f"the scripts of {framework} were not run: {failed}")
    if not named and shutil.which("npm"):
        tensorflow_js(session)
        pythons["tfjs"] = "examples/tfjs"
    if not pythons:
        session.error(f"--with {named}: no framework is made of it; there are {', '.join(FRAMEWORKS)}")
    session.run("python", "tests/support/findings.py", "--pythons", json.dumps(pythons), *words)


def tensorflow_js(session: nox.Session) -> None:
    """Install TensorFlow.js where the port of examples/ looks for it."""
    session.run("npm", "install", "--no-audit", "--no-fund", "--prefix", "examples/tfjs", external=True)


# --- what is asked for --------------------------------------------------------------------------


def of_this_python() -> list[str]:
    """The frameworks that need no other Python."""
    return [name for name in FRAMEWORKS if name not in environments.PYTHON]


MANIFEST = "manifest.json"


def note(folder: pathlib.Path, name: str, reason: str) -> None:
    """Say in the manifest that something was asked for; its result file, once there, says the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    with environments.alone():
        noted = json.loads(manifest.read_text()) if manifest.exists() else {}
        manifest.write_text(json.dumps(noted | {name: reason}, indent=1) + "\n")


def code_of(name: str) -> pathlib.Path:
    """Where the digest of the code is noted that wrote a result file of everything, but for random inputs."""
    return RESULTS / f"{name}.code"


def measured_with(code: str | None, frameworks: list[str]) -> pathlib.Path:
    """A folder with copies of the result files of these frameworks that this code wrote, and no others.

    Copies, because the files are written anew while tests run when somebody measures meanwhile.
    """
    shutil.rmtree(MEASURED, ignore_errors=True)
    MEASURED.mkdir(parents=True)
    for name in frameworks:
        if code and code_of(name).exists() and code_of(name).read_text() == code:
            shutil.copy2(RESULTS / f"{name}.jsonl", MEASURED)
    return MEASURED.resolve()


def chosen(session: nox.Session) -> tuple[str, list[str], list[str]]:
    """The framework and the releases that a timeline is asked for, and the options for each run."""
    framework, *words = session.posargs or [""]
    if framework not in FRAMEWORKS:
        raise releases.Mistake(
            f"say which framework's releases: nox -s timeline -- mlx; known are {', '.join(FRAMEWORKS)}"
        )
    wanted = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    options = ["--time-limit", "10", "--budget", "none", *words[len(wanted) :]]  # of two the later holds
    if "--all" in options:
        options.remove("--all")
        if wanted:
            raise releases.Mistake("--all takes every release, a list takes some; leave out one of them")
        wanted = listed(session, framework)
    wanted = wanted or releases.selection(framework) or releases.last_patches(listed(session, framework))
    try:
        return framework, sorted(dict.fromkeys(wanted), key=Version), options
    except InvalidVersion as error:
        raise releases.Mistake(f"{error}; name releases as in: nox -s timeline -- {framework} 1.2.3 1.3.0") from None


def listed(session: nox.Session, framework: str) -> list[str]:
    """Every release that has a wheel for this platform and Python, oldest first, as pip finds them."""
    name = releases.pinned(framework)[0].name
    command = ["python", "-m", "pip", "index", "versions", name, "--only-binary", ":all:"]
    if framework in environments.PYTHON:
        command += ["--python-version", environments.PYTHON[framework]]
    try:
        told = str(session.run(*command, silent=True))
        (versions,) = re.findall("^Available versions: (.*)$", told, re.MULTILINE)
    except (CommandFailed, ValueError):
        raise releases.Mistake(
            f"pip could not list the releases of {name}; name some: -- {framework} 1.2.3 1.3.0"
        ) from None
    return sorted(versions.split(", "), key=Version)
