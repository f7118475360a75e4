"""Files of answers to a set of vectors, as an implementation of some adapter gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from normgauge.adapters.case import Case, Observation, marked
from normgauge.adapters.worker.main import Adapters
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.vectors.export import probes_for
from normgauge.conformance.vectors.manifest import Manifest

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A layer of an adapter; ``layer`` is its kind."""

    adapter: str
    id: str
    layer: str


def asked(manifest: Manifest, layer: str, dtype: str) -> Iterator[Case]:
    """The cases of the set, each once."""
    wanted = {one.id for one in manifest.cases}
    for probe in probes_for(layer, dtype, manifest.ranks, ()):
        if (name := case_id(probe.case)) in wanted:
            wanted.remove(name)
            yield probe.case


def write_answers(
    manifest: Manifest,
    folder: Path,
    implementation: Implementation,
    dtype: str,
    leave_out: Callable[[Case], bool] = lambda case: False,
    *,
    npy: bool = False,
) -> None:
    """The answers of the implementation, in one file of safetensors or in a file .npy for each array."""
    adapter = Adapters(implementation.adapter, dtype).of(dtype)
    arrays: dict[str, Array] = {}
    raised: dict[str, dict[str, str]] = {}
    for case in asked(manifest, implementation.layer, dtype):
        if leave_out(case):
            continue
        seen = adapter.run(implementation.id, case)
        arrays |= dict(_named(case, seen))
        if seen.raised is not None:
            raised[case_id(case)] = {
                "where": seen.raised.where, "type": seen.raised.type, "message": seen.raised.message,
            }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    notes = {"framework": "files", "implementations": {implementation.layer: implementation.id}, "raised": raised}
    (folder / "answers.json").write_text(json.dumps(notes))
    if not npy:
        save_file(arrays, folder / f"{dtype}.safetensors")
    for name, array in arrays.items() if npy else ():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def _named(case: Case, seen: Observation) -> Iterator[tuple[str, Array]]:
    for number, step in enumerate(seen.steps, start=1):
        found = {"output": step.output, **step.state, **step.gradients}
        if step.trainable is not None:
            found["trainable"] = marked(step.trainable)
        for quantity, array in found.items():
            # safetensors writes the bytes of an array as they lie, whatever its strides are
            yield f"{case_id(case)}/{number}/{quantity}", np.array(array, order="C")
