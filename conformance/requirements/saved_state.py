"""What BatchNorm keeps: reset, save and load, freezing, a changed momentum, what is trainable.

At most three training steps a case, and eval only where nothing but the trainable parameters is judged: what happens
in eval and after many steps are requirements of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from normgauge.adapters.case import Action, Case
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import (
    Asked,
    Layer,
    Requirement,
    of_batch_norm,
)
from normgauge.conformance.requirements.sources import (
    BATCH_NORM_PAPER,
    FLAX_LINEN_BATCH_NORM,
    FLAX_NNX,
    FLAX_NNX_VARIABLES,
    FLAX_SERIALIZATION,
    KERAS_BATCH_NORM,
    KERAS_LAYER,
    MLX_BATCH_NORM,
    MLX_MODULE,
    TORCH_BATCH_NORM,
    TORCH_MODULE,
)

_RESET, _SAVED = Action("reset"), Action("save_load")
_FROZEN, _FREE = Action("freeze"), Action("unfreeze")
_MODEL_FROZEN, _MODEL_FREE = Action("freeze_model"), Action("unfreeze_model")
#: What a saved state is judged by; whether it is trainable is another requirement.
_VALUES: Final = ("output", "running_mean", "running_var", "weight", "bias")
_TRAINABLE: Final = ("trainable",)


def _case(
    layer: Layer, asked: Asked, *steps: Sequence[Action], mode: str = "train", inspect: bool = False, **changes: Any
) -> Case:
    """A step for each of ``steps``, after these actions."""
    inputs = [(mode, scrambled(asked.shape, seed) * (1 + seed)) for seed in range(len(steps))]
    made = layer.case(asked, inputs, **changes)
    acted = (replace(step, before=tuple(own), inspect=inspect) for step, own in zip(made.steps, steps, strict=True))
    return replace(made, steps=tuple(acted))


def _reset(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield Probe(label="a training step, reset, another", case=_case(layer, asked, (), (_RESET,)))
    case = _case(layer, asked, (), (), (_RESET,), momentum=None)
    yield Probe(label="momentum=None, two training steps, reset, another", case=case, needs="BN-05")


def _saved(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = _case(layer, asked, (), (_SAVED,), inspect=True)
    yield Probe(label="a training step, save and load, another", case=case, quantities=_VALUES)
    case = _case(layer, asked, (), (), (_SAVED,), momentum=None)
    yield Probe(label="momentum=None, two training steps, save and load, another", case=case, needs="BN-05")


def _frozen(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for label, action in (("frozen", _FROZEN), ("frozen by its model", _MODEL_FROZEN)):
        yield Probe(label=f"{label}, two training steps", case=_case(layer, asked, (action,), (), inspect=True))
    yield Probe(label="frozen, a training step, unfrozen, another", case=_case(layer, asked, (_FROZEN,), (_FREE,)))


def _momentum_changed(layer: Layer, asked: Asked) -> Iterator[Probe]:
    changed = (Action("momentum", 0.75),)
    yield Probe(label="momentum changed between training steps", case=_case(layer, asked, (), changed))
    yield Probe(
        label="momentum=None, then a number", case=_case(layer, asked, (), changed, momentum=None), needs="BN-05"
    )


def _trainable(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for label, actions in {
        "a new layer": (),
        "unfrozen without having been frozen": (_FREE,),
        "frozen and unfrozen": (_FROZEN, _FREE),
        "frozen and unfrozen by its model": (_MODEL_FROZEN, _MODEL_FREE),
        "frozen by itself, unfrozen by its model": (_FROZEN, _MODEL_FREE),
        "saved and loaded": (_SAVED,),
    }.items():
        yield Probe(label=label, case=_case(layer, asked, actions, mode="eval", inspect=True), quantities=_TRAINABLE)
        yield Probe(
            label=f"{label}, in training", case=_case(layer, asked, actions, inspect=True), quantities=_TRAINABLE
        )


SAVED_STATE: Final[tuple[Requirement, ...]] = (
    of_batch_norm(
        "BN-27", ground="convention", title="reset",
        statement="A reset leaves the running statistics of a new layer: mean 0, variance 1, no batches.",
        source=(
            TORCH_BATCH_NORM.says("self.running_mean.zero_()", at="the code of reset_running_stats"),
            TORCH_BATCH_NORM.says("self.running_var.fill_(1)", at="the code of reset_running_stats"),
            TORCH_BATCH_NORM.says("self.num_batches_tracked.zero_()", at="the code of reset_running_stats"),
        ),
        probes=_reset, allows=("reset",),
    ),
    of_batch_norm(
        "BN-28", ground="documentation", title="save and load",
        statement=(
            "A new layer that loads the saved state continues like the old one: parameters, running statistics and, "
            "for momentum=None, the number of batches."
        ),
        source=(
            TORCH_MODULE.says(
                "Return a dictionary containing references to the whole state of the module. Both parameters and "
                "persistent buffers (e.g. running averages) are included.", at="state_dict",
            ),
            MLX_MODULE.says("Save the model's weights to a file.", at="save_weights"),
            KERAS_LAYER.says("Sets the values of layer.weights from a list of NumPy arrays.", at="set_weights"),
            FLAX_NNX.says("Update the given graph node with a new state(s) in-place.", at="update"),
            FLAX_SERIALIZATION.says("Restores the state of the given target using a state dict."),
        ),
        probes=_saved, allows=("save_load",),
    ),
    of_batch_norm(
        "BN-29", ground="convention", title="freezing",
        statement=(
            "Freezing excludes weight and bias from training and changes no result: the batch still normalises in "
            "training and still enters the running statistics."
        ),
        source=(
            TORCH_MODULE.implies(
                "a setting of the parameters changes nothing that is computed", at="requires_grad_",
                quote="Change if autograd should record operations on parameters in this module.",
            ),
        ),
        probes=_frozen,
        allows=("freeze", "unfreeze", "freeze_model", "unfreeze_model"),
    ),
    of_batch_norm(
        "BN-30", ground="convention", title="momentum changed",
        statement="A momentum that is set between two calls, also a number after None, is used in all later calls.",
        source=(
            TORCH_BATCH_NORM.implies(
                "each call reads the momentum that the layer has then", at="the code of forward",
                quote="exponential_average_factor = self.momentum",
            ),
        ),
        probes=_momentum_changed,
        allows=("momentum",),
    ),
    of_batch_norm(
        "BN-31", ground="documentation", title="trainable parameters",
        statement=(
            "Weight and bias are trainable and the running statistics never are: in a new layer, and after freezing, "
            "unfreezing, saving and loading."
        ),
        source=(
            BATCH_NORM_PAPER.says("the parameters γ and β are to be learned", at="section 3"),
            TORCH_MODULE.says(
                "BatchNorm's running_mean is not a parameter, but is part of the module's state.", at="register_buffer"
            ),
            MLX_BATCH_NORM.says(
                "make sure that running_mean and var are always frozen parameters.", at="unfreeze"
            ),
            KERAS_BATCH_NORM.says("self.moving_mean and self.moving_var are non-trainable variables"),
            FLAX_NNX_VARIABLES.says("these are not the learnable scale and bias parameters"),
            FLAX_LINEN_BATCH_NORM.says(
                "in addition to a 'params' collection, a separate 'batch_stats' collection that will contain all the "
                "running statistics"
            ),
        ),
        probes=_trainable,
        allows=("inspect",),
    ),
)  # fmt: skip
