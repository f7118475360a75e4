"""Prose in a documentation: the rules that read it, and what a docstring is taken apart into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from claimed import BATCH, GROUP, OUTSIDE, said

from normgauge.conformance.documentation import claims as claims_module
from normgauge.conformance.documentation.claims import Statement, read_claims, subjects
from normgauge.conformance.documentation.docstrings import passages, sentences
from normgauge.conformance.documentation.rules import RULES, Rule
from normgauge.oracle import AXES

# --- prose -------------------------------------------------------------------------------------------

#: A text that each rule recognises, by the rule's subject, value and layer.
RECOGNISED: Mapping[tuple[str, str, str | None], tuple[str, ...]] = {
    ("eps_placement", "inside_sqrt", None): (
        "epsilon: Small float added to variance to avoid dividing by zero.",
        "epsilon (float): Small epsilon to add to the variance to avoid division by zero.",
        "- :math:`\\epsilon` : add a small value to the variance to prevent division by zero",
    ),
    ("eps_placement", "outside_sqrt", None): (
        "epsilon: a value added to the standard deviation.",
        "The constant ``epsilon`` is added to the square root of the variance.",
    ),
    ("grouping", "contiguous", None): ("Each group consists of C/G adjacent channels.",),
    ("grouping", "interleaved", None): ("A group holds interleaved channels.",),
    ("variance", "biased", "group_norm"): ("The variance is calculated via the biased estimator.",),
    ("variance", "unbiased", "group_norm"): ("The standard deviation is computed with the unbiased estimator.",),
    ("variance", "biased", "batch_norm"): (
        "At train time in the forward pass, the standard-deviation is calculated via the biased estimator.",
    ),
    ("variance", "unbiased", "batch_norm"): (
        "For normalization the variance is estimated with the unbiased estimator.",
    ),
    ("running_var", "unbiased", None): (
        "However, the value stored in the moving average of the variance is calculated via the unbiased estimator.",
    ),
    ("running_var", "biased", None): ("The running variance is computed using the biased estimator.",),
    ("affine_shape", "per_channel", None): (
        ":math:`\\gamma` and :math:`\\beta` are learnable per-channel affine transform parameter vectors.",
        "Optionally applies a channel-wise affine transformation afterwards.",
        "parameters that are learned per feature dimension parameters initialized at 1",
        "whether to create a trainable scale per channel applied afterwards",
    ),
    ("affine_shape", "per_group", None): ("A scale per group and an offset follow.",),
    ("momentum_weighs", "old", None): (
        "momentum: decay rate for the exponential moving average of the batch statistics.",
        "momentum: Decay rate for EMA.",
    ),
    ("momentum_none", "cumulative", None): (
        "momentum: Can be set to ``None`` for cumulative moving average (i.e. simple average).",
    ),
    ("training_normalizes_with", "batch", None): (
        "**During training** (i.e. when calling with `training=True`), the layer normalizes its output using\n"
        "the mean and standard deviation of the current batch of inputs.",
        "- `training=True`: The layer will normalize its inputs using the mean and variance of the current batch.",
    ),
    ("untracked_eval_uses", "batch", None): (
        "If :attr:`track_running_stats` is set to ``False``, this layer then does not keep estimates, and batch\n"
        "statistics are instead used during evaluation time as well.",
    ),
}


#: For each rule, texts that its guard alone keeps silent.
GUARDED: Mapping[tuple[str, str, str | None], tuple[str, ...]] = {
    ("eps_placement", "inside_sqrt", None): (
        "epsilon: a value added to variance after the root is taken",
        "epsilon: not added to variance",
        "epsilon: if it is given, it is added to the variance",
    ),
    ("eps_placement", "outside_sqrt", None): ("epsilon: PyTorch has it added to the standard deviation.",),
    ("grouping", "contiguous", None): ("The groups are not made of adjacent channels.",),
    ("grouping", "interleaved", None): ("Elsewhere, unlike here, groups are of interleaved channels.",),
    ("variance", "biased", "group_norm"): ("Nor here: the variance is calculated via the biased estimator.",),
    ("variance", "unbiased", "group_norm"): ("In Keras the variance is computed with the unbiased estimator.",),
    ("variance", "biased", "batch_norm"): (
        "When training TensorFlow, the variance is calculated via the biased estimator.",
        "In training the stored variance is calculated via the biased estimator.",
    ),
    ("variance", "unbiased", "batch_norm"): (
        "In training the tracked variance is computed with the unbiased estimator.",
    ),
    ("running_var", "biased", None): ("In Keras the running variance is computed using the biased estimator.",),
    ("running_var", "unbiased", None): ("If frozen, the running variance is computed using the unbiased estimator.",),
    ("affine_shape", "per_channel", None): ("There is no longer a scale per channel.",),
    ("affine_shape", "per_group", None): ("Unlike older releases, which had a scale per group.",),
    ("momentum_weighs", "old", None): ("momentum: unlike the decay rate for the moving average, it weighs the new.",),
    ("momentum_none", "cumulative", None): ("momentum: It cannot be None for a cumulative average.",),
    ("training_normalizes_with", "batch", None): (
        "During training it never normalizes its input with the mean and variance of the current batch.",
        "During training, moving away from it, it normalizes its input by the mean and variance of the current batch.",
    ),
    ("untracked_eval_uses", "batch", None): (
        "If track_running_stats is False in PyTorch, batch statistics are used in evaluation.",
    ),
}


def test_every_rule_has_texts_here() -> None:
    keys = sorted(str((rule.subject, rule.value, rule.layer)) for rule in RULES)
    assert sorted(map(str, RECOGNISED)) == keys
    assert sorted(map(str, GUARDED)) == keys


def layer_of(rule: Rule) -> str:
    return rule.layer or next(layer for layer in AXES if any(axis.name == rule.subject for axis in AXES[layer]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.subject}={rule.value},{rule.layer}")
def test_each_rule_recognises_its_texts_and_its_guard_keeps_others_silent(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, names = layer_of(rule), BATCH | GROUP | {"eps": "epsilon"}
    others = tuple(one for one in RULES if one is not rule)
    unguarded = dataclasses.replace(rule, unless="(?!)")
    for text in RECOGNISED[rule.subject, rule.value, rule.layer]:
        assert said(layer, text, names) == {rule.subject: [rule.value]}, text
    for text in GUARDED[rule.subject, rule.value, rule.layer]:
        assert said(layer, text, names) == {}, text
    monkeypatch.setattr(claims_module, "RULES", others)
    for text in RECOGNISED[rule.subject, rule.value, rule.layer]:
        assert said(layer, text, names) == {}, text
    monkeypatch.setattr(claims_module, "RULES", (*others, unguarded))
    for text in GUARDED[rule.subject, rule.value, rule.layer]:
        assert said(layer, text, names) == {rule.subject: [rule.value]}, text


@pytest.mark.parametrize(
    "text",
    [
        "epsilon: a value added to the denominator for numerical stability.",  # of either kind
        "epsilon: A small additive constant for numerical stability",
        "epsilon: Small epsilon to avoid division by zero variance.",
        "noise: a value added to the variance",  # of another parameter
        "noise: a value added to the standard deviation",
        "Noise is added to the variance.",
        "Noise is added to the standard deviation.",
        "affine: None for a cumulative moving average",
        "The variance is calculated via the unbiased estimator.",
        "The variance is calculated via the biased estimator.",  # which of the two, in batch norm?
        "The unbiased variance is returned for inspection.",
        "For inference the exponential running mean and unbiased variance are used for normalization.",
        "momentum: The rate at which to update the running statistics.",
        "momentum: Momentum for the moving average.",
        "momentum: the value used for the running_mean and running_var computation.",
        "momentum: None is refused; a cumulative moving average is kept by another layer.",
        "weight_decay: decay rate for the exponential moving average",
        "Normalizes the input using batch statistics.",
        "It will use the moving mean and the moving variance to normalize the current batch, rather than using\n"
        "the mean and variance of the current batch.",
        "During training the moving statistics are updated.",
        "If track_running_stats is set to False, batch statistics are not kept.",
        "By default, the scale is 1 during training.",
    ],
)
def test_sentences_about_something_else_stay_silent_in_batch_norm(text: str) -> None:
    assert said("batch_norm", text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "The input channels are separated into num_groups groups, each containing num_channels / num_groups channels.",
        "In particular, the input is split into num_groups across the feature dimension.",
        "perform the group normalization in the same order/grouping as PyTorch",
        "statistics are shared across equally-sized groups of channels",
        "At train time the mean is exact. The running variance is calculated via the biased estimator.",
        "Groups of adjacent channels or interleaved channels.",
        "The running variance is computed with the biased estimator.",
        "Memory must be contiguous. The groups follow.",
        "the number of channels per group",
        "Whether the module has learnable affine parameters.",
        "momentum: decay rate for the exponential moving average",  # GroupNorm has none
    ],
)
def test_sentences_about_something_else_stay_silent_in_group_norm(text: str) -> None:
    assert said("group_norm", text) == {}


def test_two_variances_in_one_sentence_are_told_apart() -> None:
    text = (
        "In the forward pass the variance is calculated via the biased estimator, while the moving average of the "
        "variance is calculated via the unbiased estimator."
    )
    assert said("batch_norm", text) == {"variance": ["biased"], "running_var": ["unbiased"]}
    swapped = text.replace("unbiased", "?").replace("biased", "unbiased").replace("?", "biased")
    assert said("batch_norm", swapped) == {"variance": ["unbiased"], "running_var": ["biased"]}


# --- defaults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("momentum: a number. Default: 0.1", "0.1"),
        ("momentum: a number.\n    Default: ``0.1``.", "0.1"),
        ("momentum: a number. Defaults to 1e-1.", "0.1"),
        ("momentum: a number. Defaults ``0.1``, as in the paper.", "0.1"),
        ("momentum (float, optional): a number (default: .1).", "0.1"),
        ("momentum (float, default 0.1): a number.", "0.1"),
        ("momentum : float, default: 0.1\n    A number.", "0.1"),
        (":param momentum: a number, default = 0.1", "0.1"),
        ("- `momentum`: a number. The default is 0.1.", "0.1"),
        ("momentum: a number. Default: None", "None"),
        ("Statistics are kept with a default :attr:`momentum` of 0.1.", "0.1"),
        # Of something else, or with a condition:
        ("Default: 0.1", None),
        ("renorm_momentum: a number. Default: 0.1", None),
        ("renorm_momentum: Statistics are kept with a default momentum of 0.1.", None),
        ("momentum: a number. Default: 0.1 for float16, 0.2 for others", None),
        ("momentum: a number. If frozen, the default is 0.1", None),
        ("momentum: a number. The default is not 0.1", None),
        ("momentum: a number. TensorFlow's default is 0.1", None),
        ("momentum: a number. Default: 10^{-1}", None),
        ("momentum: a number. Default: ``True``", None),
        ("momentum: a number between 0 and 0.1", None),
    ],
)
def test_a_default_in_prose_is_read_or_left(text: str, expected: str | None) -> None:
    assert said("batch_norm", text) == ({"default momentum": [expected]} if expected else {})


def test_the_signature_states_defaults_and_joins_a_text_that_says_the_same() -> None:
    texts = {"docstring of X": "Args:\n    epsilon: a number. Default: 1e-5\n    momentum: a number. Default: 0.1\n"}
    found = [
        one
        for one in read_claims("batch_norm", texts, BATCH, {"eps": 0.00001, "momentum": 0.01})
        if one.subject.startswith("default")
    ]
    assert found == [
        Statement(
            subject="default eps",
            value="1e-05",
            quote="Default: 1e-5",
            where="epsilon in the docstring of X; signature",
        ),
        Statement(
            subject="default momentum", value="0.1", quote="Default: 0.1", where="momentum in the docstring of X"
        ),
        Statement(subject="default momentum", value="0.01", quote="momentum=0.01", where="signature"),
    ]


@pytest.mark.parametrize(
    ("default", "text"),
    [(1e-5, "1e-05"), ("1e-3", "0.001"), (0.123456789, "0.123456789"), (None, "None"), (True, "True"), ("inf", "inf")],
)
def test_a_default_is_told_in_one_way(default: Any, text: str) -> None:
    (found,) = [one for one in read_claims("group_norm", {}, GROUP, {"eps": default}) if one.value is not None]
    assert (found.value, found.quote) == (text, f"eps={default}")


def test_every_subject_has_a_statement_and_silence_says_what_was_read() -> None:
    for layer, names in (("group_norm", GROUP), ("batch_norm", BATCH)):
        silent = read_claims(layer, {"docstring of X": "A layer.", "docstring of X.call": "Calls it."}, names, {})
        assert [one.subject for one in silent[: len(AXES[layer])]] == [axis.name for axis in AXES[layer]]
        assert [one.subject for one in silent] == subjects(layer, names)
        assert {(one.value, one.quote, one.where) for one in silent} == {
            (None, "", "docstring of X, docstring of X.call")
        }
    assert {one.where for one in read_claims("group_norm", {}, GROUP, {})} == {"no docstring"}
    assert "default momentum" not in subjects("group_norm", GROUP)


def test_places_that_disagree_make_a_statement_each_and_places_that_agree_make_one() -> None:
    texts = {
        "docstring of X": f"It computes\n\n.. math:: {OUTSIDE}\n\nor `(x - mean) / (std + eps)`.",
        "docstring of X.__init__": "Args:\n  eps: Small epsilon to add to the variance to avoid division by zero.",
    }
    found = [one for one in read_claims("group_norm", texts, GROUP, {}) if one.subject == "eps_placement"]
    assert [(one.value, one.where) for one in found] == [
        ("outside_sqrt", "docstring of X"),
        ("inside_sqrt", "eps in the docstring of X.__init__"),
    ]


# --- a docstring taken apart -------------------------------------------------------------------------


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = "It (i.e. this one) is 1e-5. That e.g. `b` is 1. - x. :attr:`c` is. `D` is."
    assert sentences(text) == ["It (i.e. this one) is 1e-5.", "That e.g. `b` is 1. - x.", ":attr:`c` is.", "`D` is."]


def test_entries_end_with_their_indentation() -> None:
    text = """A layer.

    Note: prose with a colon
    goes on here.

    Args:
        eps (float): First.
            Default: 1e-5

            Still eps.
        momentum (Optional[float]) - Second
            and on.
    After them.
    """
    found = [(one.entry, one.text) for one in passages(text)]
    assert found == [
        (None, "A layer."),
        (None, "Note: prose with a colon goes on here."),
        ("eps", "float"),
        ("eps", "First."),
        ("eps", "Default: 1e-5"),
        ("eps", "Still eps."),
        ("momentum", "Optional[float]"),
        ("momentum", "Second and on."),
        (None, "After them."),
    ]


def test_an_entry_ends_where_the_same_indentation_goes_on() -> None:
    found = [(one.entry, one.text) for one in passages("eps: First\n  and on.\n\nNo more.\n\nmomentum: Second.")]
    assert found == [("eps", "First and on."), (None, "No more."), ("momentum", "Second.")]


def test_a_displayed_formula_keeps_the_paragraph_that_leads_to_it() -> None:
    found = passages("One. Two is\n\n.. math::\n\n    a = b\n\n    c = d\n\nThree.")
    assert [(one.kind, one.text, one.before) for one in found] == [
        ("sentence", "One.", ""),
        ("sentence", "Two is", ""),
        ("latex", r"a = b \\ c = d", "One. Two is"),
        ("sentence", "Three.", ""),
    ]
