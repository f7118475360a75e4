"""Signatures of departures: printed, stored, and read from the files of before there were fields."""

from __future__ import annotations

import msgspec
import pytest

from normgauge.conformance.requirements.case_files import promoted_cases
from normgauge.conformance.requirements.signature import CALLS, ORDINARY, Signature, stored_signature

KNOWN = {
    "output of a large mean": Signature(kind="values", quantity="output", data="a large mean"),
    "running_var of calls in a row": Signature(kind="values", quantity="running_var", data=CALLS),
    "output of calls with momentum, save_load": Signature(
        kind="values", quantity="output", data=CALLS, actions=("momentum", "save_load")
    ),
    "accuracy: one_pass": Signature(kind="accuracy", accuracy="one_pass"),
    "relation: groups = C": Signature(kind="relation", relation="groups = C"),
    "death": Signature(kind="crash", crash="death"),
    "change": Signature(kind="crash", crash="change"),
    "death of kin.InstanceNorm": Signature(kind="crash", crash="death", related_layer="kin.InstanceNorm"),
}


@pytest.mark.parametrize(("text", "signature"), KNOWN.items())
def test_a_signature_is_stored_as_fields_and_read_from_its_text_too(text: str, signature: Signature) -> None:
    assert str(signature) == text
    assert stored_signature(text) == signature
    assert stored_signature(msgspec.to_builtins(signature)) == signature


@pytest.mark.parametrize("stored", ["", "output", {}, {"kind": "speed"}, 3, None])
def test_what_is_no_signature_is_refused(stored: object) -> None:
    with pytest.raises(ValueError, match=r"signature|required|Invalid|Expected"):
        stored_signature(stored)


def test_a_departure_among_ordinary_numbers_makes_the_others_of_its_quantity_no_news() -> None:
    ordinary = Signature(kind="values", quantity="output", data=ORDINARY)
    assert KNOWN["output of a large mean"].everywhere == ordinary
    assert KNOWN["accuracy: one_pass"].everywhere == ordinary
    assert KNOWN["relation: groups = C"].everywhere != ordinary


def test_the_committed_cases_name_the_quantity_that_departed() -> None:
    assert {one.signature.quantity for one in promoted_cases()} == {"output"}
