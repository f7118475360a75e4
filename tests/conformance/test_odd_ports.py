"""Ports that are odd in a way which no reference can be asked about: each is judged, and no exception is ours."""

from __future__ import annotations

import pytest

from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Judgement


def judged(port: str, implementation: str) -> dict[str, tuple[str, str]]:
    """The verdict and the sentence of every requirement that does not conform."""
    wanted = Wanted(dtypes=("float32",), implementations=(implementation,), in_process=True)
    records = run_framework(Launch(framework=f"faulty.ports:{port}"), wanted)
    found = [one for one in records if isinstance(one, Judgement)]
    assert len(found) > 25
    return {one.requirement: (one.verdict, one.sentence) for one in found if one.verdict != "conforms"}


@pytest.mark.parametrize(
    ("implementation", "requirements"),
    [
        ("group_norm.GroupNorm", {"GN-05": "eps"}),
        ("batch_norm.BatchNorm", {"BN-10": "eps", "BN-11": "momentum"}),
    ],
)
def test_a_layer_without_defaults_raises_where_a_default_is_asked_for(
    implementation: str, requirements: dict[str, str]
) -> None:
    found = judged("SettingsMustBeGiven", implementation)
    assert {name: verdict for name, (verdict, _) in found.items()} == dict.fromkeys(requirements, "raises")
    for requirement, setting in requirements.items():
        assert found[requirement][1].endswith(f"missing 1 required positional argument: '{setting}'")


def test_another_type_where_eps_is_left_to_the_layer_is_told() -> None:
    found = judged("DefaultEpsInDouble", "group_norm.GroupNorm")
    assert {name: verdict for name, (verdict, _) in found.items()} == {"GN-20": "diverges"}
    assert "an output of float64 for an input of float32" in found["GN-20"][1]


@pytest.mark.parametrize(
    ("port", "requirements"),
    [
        ("ParameterGradientsInRows", {"GN-26": "dweight: has shape", "GN-27": "dbias: has shape"}),
        ("FlatInputGradient", {"GN-25": "dx: has shape"}),
    ],
)
def test_gradients_of_another_shape_are_told(port: str, requirements: dict[str, str]) -> None:
    found = judged(port, "group_norm.GroupNorm")
    assert {name: verdict for name, (verdict, _) in found.items()} == dict.fromkeys(requirements, "diverges")
    for requirement, words in requirements.items():
        assert words in found[requirement][1]
