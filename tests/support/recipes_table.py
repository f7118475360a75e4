"""Every recipe, built and run, as the tables of docs/recipes.md.

`python tests/support/recipes_table.py --write docs/recipes.md FRAMEWORK ...` runs the recipes among the frameworks and
writes the tables between the marks of the page; recipes of other shipped frameworks stand there as not run. A framework
that needs another Python, as Lucid does, is run by `--python lucid=PATH`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.profiles import shipped
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.conformance.recipes.table import every_recipe, tables
from normgauge.conformance.recipes.verify import verify

BEGIN: Final = "<!-- recipes -->"
END: Final = "<!-- end of recipes -->"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run every recipe among FRAMEWORKS and print the tables.")
    parser.add_argument("frameworks", nargs="+", metavar="FRAMEWORK")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Page whose tables are replaced.")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="FRAMEWORK=PATH",
        help="Interpreter of a framework that this one does not have.",
    )
    given = parser.parse_args()
    pythons = dict(text.partition("=")[::2] for text in given.python)
    sources = Sources(folders=[], measure=Measuring(dtypes=("float32",)), prefer=SHIPPED)
    every = list(dict.fromkeys([*given.frameworks, *(one.framework for one in shipped().values())]))
    recipes = every_recipe(sources, every)
    run = [one for one in recipes if {one.source.framework, one.target.framework} <= {*given.frameworks}]
    lines = "\n".join(tables(recipes, verify(run, pythons)))
    print(lines)
    if given.write is not None:
        text = given.write.read_text(encoding="utf-8")
        new = re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{lines}\n{END}", text, flags=re.DOTALL)
        given.write.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
