"""``import normgauge``: the version and what a unit test of a layer needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import normgauge
from normgauge import oracle


def test_the_version_is_the_one_that_is_installed() -> None:
    assert normgauge.__version__ == version("normgauge")


def test_every_public_name_is_the_oracle_s_or_that_of_identify() -> None:
    elsewhere = {"__version__", "CannotIdentify", "Identified", "identify", "identify_fold"}
    names = [name for name in normgauge.__all__ if name not in elsewhere]
    assert {getattr(normgauge, name).__module__.rpartition(".")[0] for name in elsewhere - {"__version__"}} == {
        "normgauge.conformance.identify"
    }
    assert [name for name in names if getattr(normgauge, name) is not getattr(oracle, name)] == []
    assert dir(normgauge) == sorted(normgauge.__all__)


def test_a_layer_of_one_s_own_is_checked_in_two_lines() -> None:
    x = np.array([[1.0, 3.0, 5.0, 9.0]], dtype=np.float32)
    reference = normgauge.group_norm(x, num_groups=2, eps=1e-5)
    mine = np.array([[-0.999995, 0.999995, -0.99999875, 0.99999875]], dtype=np.float32)
    assert not reference.excludes(mine)
    assert reference.excludes(mine + 1e-5)


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="layer_norm"):
        normgauge.layer_norm  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, normgauge; print([n for n in sys.modules if n.startswith('normgauge.') or n == 'numpy'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
