"""Ids of implementations: what they are made of, printed and read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.registry import BUILT_IN, adapter_class


def test_what_is_registered_is_what_is_built_in() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["normgauge.adapters"] == BUILT_IN


@pytest.mark.parametrize("framework", BUILT_IN)
def test_an_id_is_read_as_what_it_was_printed_from(framework: str) -> None:
    adapter = adapter_class(BUILT_IN[framework])
    for one in (*adapter.implementations, *adapter.kin):
        assert ImplementationId.parse(one.id, one.mode) == one.identity
        assert str(one.identity) == one.id


@pytest.mark.parametrize(
    ("text", "mode", "parts"),
    [
        ("torch.nn.GroupNorm", "eager", ("torch.nn.GroupNorm", "", "")),
        ("torch.nn.GroupNorm[channels_last]", "channels_last", ("torch.nn.GroupNorm", "", "")),
        ("k.l.Group[torch]", "eager", ("k.l.Group", "", "torch")),
        ("k.l.Group(axis=[1, 2])[torch][mask]", "mask", ("k.l.Group", "axis=[1, 2]", "torch")),
        (
            "mlx.nn.GroupNorm(pytorch_compatible=True)[mixed]",
            "mixed",
            ("mlx.nn.GroupNorm", "pytorch_compatible=True", ""),
        ),
        # Of workers elsewhere: any text may be an id.
        ("GroupNorm", "mixed", ("GroupNorm", "", "")),
        ("a (b) [c] d", "eager", ("a (b) [c] d", "", "")),
        ("", "eager", ("", "", "")),
    ],
)
def test_the_mode_tells_the_brackets_apart(text: str, mode: str, parts: tuple[str, str, str]) -> None:
    found = ImplementationId.parse(text, mode)
    assert (found.class_path, found.options, found.backend) == parts
    assert found.mode == mode


def test_a_class_path_is_a_module_and_a_class() -> None:
    found = ImplementationId(class_path="flax.linen.GroupNorm", mode="jit")
    assert (found.module, found.class_name, str(found)) == ("flax.linen", "GroupNorm", "flax.linen.GroupNorm[jit]")
