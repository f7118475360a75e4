"""What documentation claims is held to the measurement, also that of the installed frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from claimed import GROUP, OUTSIDE
from described import described
from faulty import group_norm
from faulty.adapter import FaultyAdapter
from frameworks import MODULES, for_each

from normgauge.adapters.case import Implementation
from normgauge.adapters.mode import Mode
from normgauge.conformance.documentation.claims import Statement, claims, hold
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.messages import Description
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import AxisMeasured, DefaultMeasured, Profile, Record

# --- beside the measurement --------------------------------------------------------------------------


def axis(*measured: str) -> AxisMeasured:
    return AxisMeasured(axis="eps_placement", question="where", canonical="inside_sqrt", measured=list(measured))


def default(signature: str | None, *interval: float) -> DefaultMeasured:
    low, best, high = interval or (None, None, None)
    return DefaultMeasured(setting="eps", signature=signature, low=low, best=best, high=high)


@pytest.mark.parametrize(
    ("claimed", "measured", "expected"),
    [
        ("inside_sqrt", ["inside_sqrt"], ("agrees", "inside_sqrt")),
        ("outside_sqrt", ["inside_sqrt"], ("contradicts", "inside_sqrt")),
        ("outside_sqrt", ["inside_sqrt", "outside_sqrt"], ("cannot tell", "inside_sqrt or outside_sqrt")),
        ("outside_sqrt", ["inside_sqrt", "max_with_variance"], ("cannot tell", "inside_sqrt or max_with_variance")),
        ("outside_sqrt", [], ("cannot tell", "not measured")),
        (None, ["inside_sqrt"], ("silent", "inside_sqrt")),
    ],
)
def test_a_claim_on_an_axis_is_held_to_its_surviving_values(
    claimed: str | None, measured: list[str], expected: tuple[str, str]
) -> None:
    assert (
        hold(Statement(subject="eps_placement", value=claimed, quote="", where=""), [axis(*measured)], []) == expected
    )


@pytest.mark.parametrize(
    ("claimed", "measured", "expected"),
    [
        ("1e-05", default("1e-05", 0.99e-5, 1e-5, 1.01e-5), ("agrees", "1e-05")),
        ("1e-05", default(None, 0.99e-5, 1e-5, 1.01e-5), ("agrees", "1e-05")),
        ("1e-05", default("0.001", 0.99e-3, 1e-3, 1.01e-3), ("contradicts", "0.001, signature 0.001")),
        ("1e-05", default("0.001", 0.99e-5, 1e-5, 1.01e-5), ("contradicts", "1e-05, signature 0.001")),
        ("1e-05", default("1e-05", 0.99e-3, 1e-3, 1.01e-3), ("contradicts", "0.001")),
        ("0.5", default("0.5", 0.5, 0.75, 1.0), ("agrees", "0.8")),
        ("1", default("1", 0.5, 0.75, 1.0), ("agrees", "0.8")),
        ("1e-05", default("0.001"), ("contradicts", "not measured, signature 0.001")),
        ("1e-05", default("1e-05"), ("cannot tell", "not measured")),
        ("None", default("None", 0.99e-5, 1e-5, 1.01e-5), ("cannot tell", "1e-05")),
        ("1e-05", default("None", 0.99e-5, 1e-5, 1.01e-5), ("agrees", "1e-05")),
        (None, default("1e-05", 0.99e-5, 1e-5, 1.01e-5), ("silent", "1e-05")),
        ("1e-05", None, ("cannot tell", "not measured")),
    ],
)
def test_a_claimed_default_is_held_to_signature_and_behaviour(
    claimed: str | None, measured: DefaultMeasured | None, expected: tuple[str, str]
) -> None:
    assert (
        hold(Statement(subject="default eps", value=claimed, quote="", where=""), [], [measured] if measured else [])
        == expected
    )


def test_a_default_held_in_float32_is_the_default_claimed() -> None:
    held = 9.999999747378752e-06  # the float32 next to 1e-5
    measured = default("1e-05", held - 1e-20, held, held + 1e-20)
    verdict, text = hold(Statement(subject="default eps", value="1e-05", quote="", where=""), [], [measured])
    assert verdict == "agrees"
    assert text.endswith(", which is 1e-05 in float32")
    other = default("1e-05", held * 1.0001, held * 1.0002, held * 1.0003)
    assert hold(Statement(subject="default eps", value="1e-05", quote="", where=""), [], [other])[0] == "contradicts"


def description(**more: Any) -> Description:
    return described("any", names=GROUP, signature_defaults={"eps": 1e-5}, **more)


def test_nothing_is_held_to_the_nearest_candidate_where_none_survived() -> None:
    told = description(documentation_texts={"docstring of X": f":math:`{OUTSIDE}`"})
    arguments = [axis("inside_sqrt")], [default("1e-05", 0.99e-5, 1e-5, 1.01e-5)]
    known = {one.subject: one.verdict for one in claims(told, *arguments, known=True)}
    unknown = {one.subject: one.verdict for one in claims(told, *arguments, known=False)}
    assert (known["eps_placement"], known["default eps"]) == ("contradicts", "agrees")
    assert (unknown["eps_placement"], unknown["default eps"]) == ("cannot tell", "cannot tell")


@pytest.mark.parametrize("texts", [{}, {"documentation_texts": {"docstring": None}}])
def test_a_worker_may_send_no_texts(texts: dict[str, Any]) -> None:
    found = claims(description(**texts), [axis("inside_sqrt")], [], known=True)
    assert [(one.subject, one.where) for one in found if one.claimed] == [("default eps", "signature")]
    assert {one.where for one in found if not one.claimed} == {"no docstring"}


# --- from an adapter to a profile --------------------------------------------------------------------


class _Base(group_norm.GroupNorm):
    """A base in the same module: `(x - mean) / (std + eps)`."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-3, dtype: str = "") -> None:
        """Args:
        eps: a number. Default: 1e-5
        """
        super().__init__(num_groups, num_channels, eps, dtype)


class Misdocumented(_Base):
    pass


class Undocumented(group_norm.GroupNorm):  # its base's docstring is of another module
    def __call__(self, x: Any) -> Any:
        """Calls it."""
        return super().__call__(x)


class MisdocumentedAdapter(FaultyAdapter):
    framework = "misdocumented"
    implementations = tuple(
        Implementation(
            class_path=f"here.{name}",
            layer="group_norm",
            layout="N, C, *",
            names=GROUP,
            documentation="",
            options=options,
            way=Mode(name=mode, about="in a test"),
        )
        for name, options, mode in (("Misdocumented", {"flag": True}, "mode"), ("Undocumented", {}, "eager"))
    )

    def layer_class(self, implementation: Implementation) -> Any:
        return {"Mis": Misdocumented, "Und": Undocumented}[implementation.identity.class_name[:3]]


def test_an_adapter_sends_the_layer_s_own_docstrings() -> None:
    adapter = MisdocumentedAdapter("float32")
    misdocumented, undocumented = (adapter.describe(one) for one in adapter.implementations)
    assert misdocumented["documentation_texts"] == {
        "docstring of here.Misdocumented": "A base in the same module: `(x - mean) / (std + eps)`.",
        "docstring of here.Misdocumented.__init__": "Args:\neps: a number. Default: 1e-5",
    }
    assert undocumented["documentation_texts"] == {"docstring of here.Undocumented.__call__": "Calls it."}


def test_a_run_holds_the_documentation_to_the_behaviour() -> None:
    wanted = Wanted(dtypes=("float32",), in_process=True, diagnosis_only=True)
    records = list(run_framework(Launch(framework=f"{__name__}:MisdocumentedAdapter"), wanted))
    wrong, silent = (one for one in records if isinstance(one, Profile))
    found = [(one.subject, one.claimed, one.measured, one.verdict) for one in wrong.claims if one.claimed]
    # The adapter leaves eps to a default of 1e-5, whatever the signature says.
    assert found == [
        ("eps_placement", "outside_sqrt", "inside_sqrt", "contradicts"),
        ("default eps", "1e-05", "1e-05, signature 0.001", "contradicts"),
        ("default eps", "0.001", "1e-05", "contradicts"),
    ]
    assert {one.verdict for one in silent.claims} == {"silent"}
    assert {one.where for one in silent.claims} == {"docstring of here.Undocumented.__call__"}


# --- the installed frameworks ------------------------------------------------------------------------

_OLD_MOMENTUM = {"momentum_weighs": "old"}
_TORCH_BATCH = {
    "eps_placement": "inside_sqrt",
    "variance": "biased",
    "running_var": "unbiased",
    "momentum_weighs": "new",
    "momentum_none": "cumulative",
    "untracked_eval_uses": "batch",
}
#: What each documentation claims of the axes, in the releases pinned in pyproject.toml.
CLAIMED: Mapping[str, Mapping[str, str]] = {
    "torch.nn.GroupNorm": {"eps_placement": "inside_sqrt", "variance": "biased", "affine_shape": "per_channel"},
    "torch.nn.BatchNorm1d": _TORCH_BATCH,
    "torch.nn.BatchNorm2d": _TORCH_BATCH,
    "torch.nn.BatchNorm3d": _TORCH_BATCH,
    "mlx.nn.GroupNorm": {"eps_placement": "inside_sqrt", "affine_shape": "per_channel"},
    "mlx.nn.GroupNorm(pytorch_compatible=True)": {"eps_placement": "inside_sqrt", "affine_shape": "per_channel"},
    "mlx.nn.BatchNorm": {"eps_placement": "inside_sqrt"},
    "keras.layers.GroupNormalization[jax]": {"eps_placement": "inside_sqrt"},
    "keras.layers.BatchNormalization[jax]": {
        "eps_placement": "inside_sqrt",
        "training_normalizes_with": "batch",
        **_OLD_MOMENTUM,
    },
    "flax.nnx.GroupNorm": {"eps_placement": "inside_sqrt"},
    "flax.nnx.BatchNorm": {"eps_placement": "inside_sqrt", **_OLD_MOMENTUM},
    "flax.linen.GroupNorm": {"eps_placement": "inside_sqrt"},
    "flax.linen.BatchNorm": {"eps_placement": "inside_sqrt", **_OLD_MOMENTUM},
}
#: How many of these each framework has.
SPEAKING = {"torch": 4, "mlx": 3, "keras-jax": 2, "flax": 4}


def test_every_documentation_in_this_table_is_of_a_framework() -> None:
    assert sum(SPEAKING.values()) == len(CLAIMED)


@for_each(*MODULES)
def test_the_installed_documentations_claim_what_they_say_and_agree_with_what_is_measured(
    records: list[Record], framework: str
) -> None:
    profiles = [one for one in records if isinstance(one, Profile)]
    told = {p.implementation: {c.subject: c.claimed for c in p.claims if c.claimed} for p in profiles}
    for identifier in CLAIMED.keys() & told.keys():
        axes = {name: value for name, value in told[identifier].items() if not name.startswith("default")}
        assert axes == CLAIMED[identifier], identifier
        assert "default eps" in told[identifier], identifier
        assert ("default momentum" in told[identifier]) == ("Batch" in identifier), identifier
    assert len(CLAIMED.keys() & told.keys()) == SPEAKING.get(framework, 0)
    spoken = [(p.implementation, p.dtype, c) for p in profiles for c in p.claims if c.verdict != "silent"]
    assert [(who, dtype, c.subject) for who, dtype, c in spoken if c.verdict == "contradicts"] == []
    # In half precision a default of 1e-5 hardly shows.
    unclear = {(dtype, c.subject) for _, dtype, c in spoken if c.verdict != "agrees"}
    assert unclear <= {(dtype, "default eps") for dtype in ("float16", "bfloat16")}


@for_each("torch")
def test_a_claim_is_quoted_with_the_place_where_it_stands(records: list[Record]) -> None:
    (profile,) = [
        one for one in records if isinstance(one, Profile)
        and (one.implementation, one.dtype) == ("torch.nn.GroupNorm", "float32")
    ]  # fmt: skip
    (eps,) = [claim for claim in profile.claims if claim.subject == "eps_placement" and claim.verdict != "silent"]
    assert eps.where == "docstring of torch.nn.GroupNorm"
    assert r"\sqrt{\mathrm{Var}[x] + \epsilon}" in eps.quote
