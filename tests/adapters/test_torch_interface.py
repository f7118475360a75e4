"""What of torch's interface a release has, and what is refused where it cannot leave out a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normgauge.adapters.case import Case, Implementation, Step
from normgauge.adapters.implementations import implementations_of
from normgauge.adapters.lacks import lacking
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.torch_interface import KIN, LAYERS, lacks_of, settings_of, takes

KNOWN: Mapping[str, Implementation] = {
    one.class_name: one
    for one in implementations_of((*LAYERS, *KIN), "some.nn", CHANNELS_FIRST, "https://some.where/{}")
}
GIVEN = {"num_channels": 4, "num_groups": 2, "eps": 0.5}
CASE = Case(
    layer="group_norm",
    dtype="float32",
    settings=GIVEN,
    parameters={},
    steps=(Step("train", np.zeros((2, 4, 3), np.float32)),),
)


class WithBias:
    def __init__(self, num_groups: int, num_channels: int, eps: float, affine: bool = True, bias: bool = True) -> None:
        raise NotImplementedError


class WithoutBias:
    def __init__(self, num_groups: int, num_channels: int, eps: float, affine: bool = True) -> None:
        raise NotImplementedError


def settings(name: str, **left_out: bool) -> dict[str, Any]:
    return settings_of(WithBias, KNOWN[name], replace(CASE, settings={**GIVEN, **left_out}))


def test_a_class_has_its_own_page_and_the_names_of_its_arguments() -> None:
    assert KNOWN["BatchNorm2d"].documentation == "https://some.where/BatchNorm2d"
    assert KNOWN["BatchNorm2d"].id == "some.nn.BatchNorm2d"
    assert KNOWN["BatchNorm2d"].named({"num_channels": 3, "track": False}) == {
        "num_features": 3,
        "track_running_stats": False,
    }


@pytest.mark.parametrize(
    ("left_out", "said"),
    [({}, {}), ({"bias": False}, {"bias": False}), ({"weight": False, "bias": False}, {"affine": False})],
)
def test_parameters_are_left_out_by_affine_or_bias(left_out: dict[str, bool], said: dict[str, bool]) -> None:
    assert settings("GroupNorm", **left_out) == GIVEN | said


def test_relatives_get_what_stands_beside_a_group_norm() -> None:
    assert settings("InstanceNorm1d") == {"num_features": 4, "eps": 0.5, "affine": True}
    assert settings("LayerNorm", weight=False, bias=False) == {
        "normalized_shape": (4, 3),
        "eps": 0.5,
        "elementwise_affine": False,
    }


@pytest.mark.parametrize(
    ("name", "layer_class", "left_out", "message"),
    [
        ("GroupNorm", WithBias, {"weight": False}, "affine=False leaves out both parameters; there is no bias without"),
        ("GroupNorm", WithoutBias, {"bias": False}, "affine leaves out both parameters or none"),
        ("InstanceNorm1d", WithBias, {"bias": False}, "affine leaves out both parameters or none"),
        ("LayerNorm", WithBias, {"weight": False}, "hold one value for each element, not for each channel"),
        ("LayerNorm", WithBias, {"bias": False}, "hold one value for each element, not for each channel"),
    ],
)
def test_a_parameter_that_cannot_be_left_out_alone_is_declared(
    name: str, layer_class: type, left_out: dict[str, bool], message: str
) -> None:
    case = replace(CASE, settings={**GIVEN, **left_out})
    assert message in (lacking(lacks_of(layer_class, KNOWN[name]), case) or "")


@pytest.mark.parametrize(("layer_class", "bias"), [(WithBias, True), (WithBias, False), (WithoutBias, True)])
def test_what_a_class_has_is_not_declared_away(layer_class: type, bias: bool) -> None:
    assert lacking(lacks_of(layer_class, KNOWN["GroupNorm"]), replace(CASE, settings=GIVEN | {"bias": bias})) is None


def test_an_argument_is_looked_for_in_the_release_s_own_signature() -> None:
    assert [takes(one, "bias") for one in (WithBias, WithoutBias)] == [True, False]
