"""The documentation site: `nox -s docs` builds it from this folder and from the public docstrings, with Sphinx.

The pages are Markdown, as a reader of the repository sees them. What the site needs beyond that is added here: the
title of a finding, which its page has as TOML, and the list of pages below an index that a program writes.
"""

import re
import tomllib
from pathlib import Path

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import normgauge

project = "normgauge"
copyright = "the normgauge authors"
version = release = normgauge.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.programoutput",
]
root_doc = "index"
default_role = "code"
exclude_patterns = ["_build"]
# The reports for maintainers have the headings that the trackers ask for.
suppress_warnings = ["config.cache", "myst.header"]
# Every role of a docstring leads somewhere. Types in signatures need not: those of other projects are online.
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]

myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Float": "Float"}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "normgauge"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "tutorial": [], "own-adapter": []}
toc_object_entries_show_parents = "hide"

# Links to other sites are followed only by `nox -s docs -- --external`, which needs the network.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4

#: Pages whose text is a file at the top of the repository.
TOP = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
#: Pages that list the files of a folder: their entries in the navigation are those files.
LISTS = {"findings": "findings/[a-z]*", "upstream/README": "[a-z]*"}
FRONT_MATTER = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n", re.DOTALL)
#: What reStructuredText takes for markup and a docstring does not: a starred name, a bar.
MARKUP = re.compile(r"\*(?=\w)|\|")


def adapted(app: Sphinx, page: str, source: list[str]) -> None:
    """Give a finding its title, a fence of output no language, and a list of files its navigation.

    The empty line that ends an example for doctest is left out. The text of a page of :data:`TOP` is that file's.
    """
    if page in TOP:
        text = (Path(app.srcdir).parent / TOP[page]).read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((?!https?:|#)", "](../", text).replace("](../docs/", "](")
    for place, name in TOP.items():
        source[0] = source[0].replace(f"](../{name}", f"]({place}.md")
    front = FRONT_MATTER.match(source[0])
    if front:
        title = tomllib.loads(front[1])["title"]
        source[0] = f"# {title}\n\n{source[0][front.end() :]}"
    source[0] = re.sub(r"^```output\b.*$", "```text", source[0], flags=re.MULTILINE)
    source[0] = re.sub(r"\n\n```$", "\n```", source[0], flags=re.MULTILINE)
    if page in LISTS:
        source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{LISTS[page]}\n```\n"


def escaped(app: Sphinx, kind: str, name: str, object_: object, options: object, lines: list[str]) -> None:
    """Keep the stars of shapes, such as (N, C, *spatial), and the bars of absolute values in a docstring.

    The first line of an attribute's text is left empty, since napoleon takes what stands before its colon for a type.
    """
    example = False
    for number, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = line.split("``")
            parts[::2] = [MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
            lines[number] = "``".join(parts)
    if kind in {"attribute", "data", "property"}:
        lines.insert(0, "")


def aliased(  # noqa: PLR0913, PLR0917 - what Sphinx calls it with
    app: Sphinx, kind: str, name: str, object_: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write the alias of a type where autodoc writes its own placeholder."""
    names = (text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned))
    return next(names), next(names)


def moved(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Find what the oracle's docstrings name where it is described: in `normgauge`."""
    name = node["reftarget"].rpartition(".")[2]
    if node.get("refdomain") != "py" or node.get("py:module") != "normgauge.oracle" or name not in normgauge.__all__:
        return None
    place = node.get("refdoc"), node["reftype"], f"normgauge.{name}"
    return env.domains["py"].resolve_xref(env, place[0], app.builder, place[1], place[2], node, content)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what this file adds to Sphinx."""
    app.connect("source-read", adapted)
    app.connect("autodoc-process-docstring", escaped, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", aliased)
    app.connect("missing-reference", moved)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
