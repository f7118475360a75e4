"""A framework for the tests of campaigns: few experiments, a counterexample, and layers that end what measures them.

What a layer does beside computing stands in the folder that the environment variable :data:`NOTES` names.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from faulty.adapter import FaultyAdapter
from faulty.group_norm import GroupNorm
from faulty.rare import ConstantSamplesLoseTheirBias

from normgauge.adapters.case import Implementation

Array = np.ndarray[Any, np.dtype[Any]]
NOTES = "CAMPAIGN_NOTES"


def notes() -> Path:
    return Path(os.environ[NOTES])


def dask_worker() -> int:
    """The process that measures: the parent of the parent, which is the keeper of this worker."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


class EndsItsHost(GroupNorm):
    """Ends the process that measures it, every time, where the notes have a file of that name."""

    def check(self, x: Array) -> None:
        if (notes() / "EndsItsHost").exists():
            os.kill(dask_worker(), signal.SIGKILL)
            time.sleep(60)
        super().check(x)


class Waits(ConstantSamplesLoseTheirBias):
    """Notes who measures it and waits, where the notes have a file of that name; exploration finds a counterexample."""

    def check(self, x: Array) -> None:
        asked = notes() / "Waits"
        if asked.exists():
            (notes() / "pid").write_text(str(dask_worker()))
            while asked.exists():
                time.sleep(0.05)
        super().check(x)


LAYERS = {one.__name__: one for one in (EndsItsHost, Waits)}


class Layers(FaultyAdapter):
    framework = "layers"
    implementations = tuple(
        replace(FaultyAdapter.implementations[0], class_path=f"layers.{name}", layer="group_norm", ranks=(2,))
        for name in LAYERS
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float32",)

    def layer_class(self, implementation: Implementation) -> Any:
        return LAYERS[implementation.identity.class_name]
