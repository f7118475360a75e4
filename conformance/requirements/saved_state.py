"""The experiments on what BatchNorm keeps: reset, save and load, freezing, a changed momentum, what is trainable.

At most three training steps a case, and eval only where nothing but the trainable parameters is judged: what happens
in eval and after many steps are requirements of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from normgauge.adapters.case import Action, Array, Case
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe, make_case

#: The action that each requirement is about.
ABOUT: Final[Mapping[str, str]] = {
    "BN-27": "reset",
    "BN-28": "save_load",
    "BN-29": "freeze",
    "BN-30": "momentum",
}
_RESET, _SAVED = Action("reset"), Action("save_load")
_FROZEN, _FREE = Action("freeze"), Action("unfreeze")
_MODEL_FROZEN, _MODEL_FREE = Action("freeze_model"), Action("unfreeze_model")
#: What a saved state is judged by; whether it is trainable is another requirement.
_VALUES: Final = ("output", "running_mean", "running_var", "weight", "bias")
_TRAINABLE: Final = ("trainable",)


def state_probes(
    dtype: str, shape: tuple[int, ...], settings: Mapping[str, float], given: Mapping[str, Array]
) -> Iterator[Probe]:
    """A layer of ``settings`` with the parameters ``given``, on inputs of one shape."""

    def case(*steps: Sequence[Action], mode: str = "train", inspect: bool = False, **changes: object) -> Case:
        """A step for each of ``steps``, after these actions."""
        inputs = [(mode, scrambled(shape, seed) * (1 + seed)) for seed in range(len(steps))]
        made = make_case("batch_norm", dtype, {**settings, **changes}, inputs, given)
        acted = (replace(step, before=tuple(own), inspect=inspect) for step, own in zip(made.steps, steps, strict=True))
        return replace(made, steps=tuple(acted))

    yield Probe("BN-27", "a training step, reset, another", case((), (_RESET,)))
    label = "momentum=None, two training steps, reset, another"
    yield Probe("BN-27", label, case((), (), (_RESET,), momentum=None), needs="BN-05")
    yield Probe(
        "BN-28", "a training step, save and load, another", case((), (_SAVED,), inspect=True), quantities=_VALUES
    )
    label = "momentum=None, two training steps, save and load, another"
    yield Probe("BN-28", label, case((), (), (_SAVED,), momentum=None), needs="BN-05")
    for label, action in (("frozen", _FROZEN), ("frozen by its model", _MODEL_FROZEN)):
        yield Probe("BN-29", f"{label}, two training steps", case((action,), (), inspect=True))
    yield Probe("BN-29", "frozen, a training step, unfrozen, another", case((_FROZEN,), (_FREE,)))
    yield Probe("BN-30", "momentum changed between training steps", case((), (Action("momentum", 0.75),)))
    yield Probe(
        "BN-30", "momentum=None, then a number", case((), (Action("momentum", 0.75),), momentum=None), needs="BN-05"
    )
    for label, actions in {
        "a new layer": (),
        "unfrozen without having been frozen": (_FREE,),
        "frozen and unfrozen": (_FROZEN, _FREE),
        "frozen and unfrozen by its model": (_MODEL_FROZEN, _MODEL_FREE),
        "frozen by itself, unfrozen by its model": (_FROZEN, _MODEL_FREE),
        "saved and loaded": (_SAVED,),
    }.items():
        yield Probe("BN-31", label, case(actions, mode="eval", inspect=True), quantities=_TRAINABLE)
        yield Probe("BN-31", f"{label}, in training", case(actions, inspect=True), quantities=_TRAINABLE)
