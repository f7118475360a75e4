"""What documentation claims: what is read, what stays silent, and how it is held to the measurement.

Texts here are short quotations or made up; the real documentations are read from the installed frameworks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from described import described
from faulty import group_norm
from faulty.adapter import FaultyAdapter
from frameworks import MODULES, for_each
from hypothesis import given, settings
from hypothesis import strategies as st

from normgauge.adapters.case import Implementation
from normgauge.adapters.mode import Mode
from normgauge.conformance.documentation import claims as claims_module
from normgauge.conformance.documentation.claims import Statement, claims, hold, read_claims, subjects
from normgauge.conformance.documentation.docstrings import passages, sentences
from normgauge.conformance.documentation.formulas import eps_placements, momentum_weighs
from normgauge.conformance.documentation.notation import Unreadable, read_code, read_latex
from normgauge.conformance.documentation.rules import RULES, Rule
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.messages import Description
from normgauge.conformance.subjects.subject import Launch
from normgauge.oracle import AXES
from normgauge.results.records import AxisMeasured, DefaultMeasured, Profile, Record

GROUP = {"eps": "eps", "num_groups": "num_groups", "weight": "weight"}
BATCH = {"eps": "epsilon", "momentum": "momentum", "track": "track_running_stats"}


def said(layer: str, text: str, names: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """The values claimed of each subject by one text; silent subjects are left out."""
    known = names or (GROUP if layer == "group_norm" else BATCH)
    found: dict[str, list[str]] = {}
    for one in read_claims(layer, {"docstring of X": text}, known, {}):
        if one.value is not None:
            found.setdefault(one.subject, []).append(one.value)
    return found


# --- formulas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"y = \frac{x - E[x]}{\sqrt{Var[x]} + \epsilon} \gamma + \beta,", {"outside_sqrt"}),
        (r"y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta,", {"inside_sqrt"}),
        (r"y = \frac{x - \mathrm{E}[x]}{ \sqrt{\mathrm{Var}[x] + \epsilon}} * \gamma + \beta", {"inside_sqrt"}),
        (r"\frac{x_i - \mathbb{E}[x_i]}{\sqrt{\text{Var}[x_i] + \varepsilon}} * \gamma_i + \beta_i", {"inside_sqrt"}),
        (r"\d{outputs} = \d{scale} \dfrac{x - \mu}{\sigma + \epsilon} + \d{offset}", {"outside_sqrt"}),
        (r"\hat{x_i} &\gets \frac{x_i - \mu_\beta} {\sqrt{\sigma_{\beta}^{2} + \epsilon}} \qquad", {"inside_sqrt"}),
        (r"\hat x = \frac{x-\mu}{\sqrt{\epsilon + \sigma^2_B}}", {"inside_sqrt"}),
        (r"\frac{x-\mu}{\epsilon + \sqrt{\sigma^2}}", {"outside_sqrt"}),
        (r"\frac{x-\mu}{\left(\operatorname{std}(x) + \epsilon\right)}", {"outside_sqrt"}),
        (r"(x - \mu) / (\sqrt{v} + \epsilon)", {"outside_sqrt"}),
        (r"(x - \mu) (\sigma^2 + \epsilon)^{-1/2}", {"inside_sqrt"}),
        (r"(x - \mu) (\sigma^2 + \epsilon)^{-\frac{1}{2}}", {"inside_sqrt"}),
        (r"(x - \mu) (\sigma + \epsilon)^{-1}", {"outside_sqrt"}),
        (r"\frac{x-\mu}{\sqrt{\max(\sigma^2, \epsilon)}}", {"max_with_variance"}),
        (r"\frac{x-\mu}{\sqrt[2]{\max\{\epsilon, \mathrm{Var}(x)\}}}", {"max_with_variance"}),
        (r"\begin{aligned} y &= \frac{x-\mu}{\sqrt{\sigma² + \epsilon}} \end{aligned}", {"inside_sqrt"}),
        (r"a = b \\ y = \frac{x-\mu}{\gamma * (\sigma + \text{eps})}", {"outside_sqrt"}),
        (r"\frac{x-\mu}{\boldsymbol{\sigma} + \epsilon}", {"outside_sqrt"}),
        (r"\frac{x-\mu}{\sqrt v + \epsilon}", {"outside_sqrt"}),
        (r"\frac{x-\mu}{\gamma (\sigma + \epsilon)}", {"outside_sqrt"}),
        (r"\sum_{i=1}^{m} x_i = \frac{x-\mu}{\sigma + \epsilon}", {"outside_sqrt"}),
        # What says nothing of eps, or nothing for certain:
        (r"y \le \frac{x - \mu}{\sigma + \epsilon}", set()),
        (r"\frac{x - \mu}{\sqrt{\max(\sigma^2, \delta)}}", set()),
        (r"\frac{x - \mu}{\sqrt{\max(n, \epsilon)}}", set()),
        (r"\frac{x - \mu}{\sqrt{\sigma^2}}", set()),
        (r"\frac{x - \mu}{\sigma^2 + \epsilon}", set()),  # a variance without its root
        (r"\frac{x - \mu}{\sqrt{\sigma^2 - \epsilon}}", set()),
        (r"\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon + \delta}}", set()),
        (r"\frac{x - \mu}{\sqrt{\sigma^2 \epsilon}}", set()),
        (r"\frac{x - \mu}{\sqrt[3]{\sigma^2 + \epsilon}}", set()),
        (r"\frac{x}{\sqrt{\frac{1}{n}\Vert x \Vert^2_2 + \epsilon}}", set()),  # no variance: the mean is not taken off
        (r"\frac{\sigma + \epsilon}{2}", set()),  # nothing is divided by it
        (r"\frac{x - \mu}{\max(\sigma, \epsilon)}", set()),
        (r"\frac{x - \mu}{\sqrt Var[x] + \epsilon}", set()),  # the root of V, which nobody means
        (r"\frac{x - \mu}{\sqrt{\sigma^2} + \epsilon", set()),  # not closed
        (r"\epsilon \in (0, 1)", set()),
        (r"{x \over \sigma + \epsilon}", set()),
        ("\\", set()),
        (r"\frac", set()),
        (r"\frac12 + \epsilon", set()),
        ("{" * 1500, set()),
    ],
)
def test_latex_tells_where_eps_stands_or_says_nothing(formula: str, expected: set[str]) -> None:
    assert set().union(*(eps_placements(one, "eps") for one in read_latex(formula))) == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("gamma * (batch - mean(batch)) / sqrt(var(batch) + epsilon) + beta", {"inside_sqrt"}),
        ("gamma * (batch - self.moving_mean) / sqrt(self.moving_var+epsilon) + beta", {"inside_sqrt"}),
        ("y = (x - mean) / (std + eps)", {"outside_sqrt"}),
        ("y = (x - x.mean()) / (x.std(unbiased=False) + self.eps) * weight", {"outside_sqrt"}),
        ("y = (x - mean) / (np.sqrt(var) + eps)", {"outside_sqrt"}),
        ("y = (x - mean) * torch.rsqrt(var + eps)", {"inside_sqrt"}),
        ("y = (x - mean) * (var + eps) ** -0.5", {"inside_sqrt"}),
        ("y = (x - mean) / (var + eps) ** (1 / 2)", {"inside_sqrt"}),
        ("y = (x - mean) / sqrt(maximum(var, eps))", {"max_with_variance"}),
        ("y = (x − E[x]) / (√(Var[x]) + ε)", {"outside_sqrt"}),
        ("y = (x - μ) / √(σ² + ε)", {"inside_sqrt"}),
        ("y = (x - mean) / sqrt(var) + eps", set()),  # eps added to the quotient
        ("y = (x - mean) / sqrt(n + eps)", set()),
    ],
)
def test_code_tells_where_eps_stands_or_says_nothing(formula: str, expected: set[str]) -> None:
    assert eps_placements(read_code(formula), "eps") == expected


@pytest.mark.parametrize(
    "text", ["a value added", "a = not x", "for x in y: z", "", "x = y if z else w", "a < b", "\0"]
)
def test_what_is_no_arithmetic_is_not_read_as_code(text: str) -> None:
    with pytest.raises(Unreadable):
        read_code(text)


def test_eps_may_have_a_name_of_its_own() -> None:
    (formula,) = read_latex(r"\frac{x - \mu}{\sqrt{\sigma^2 + \text{stabilizer}}}")
    assert eps_placements(formula, "stabilizer") == {"inside_sqrt"}
    assert eps_placements(formula, "eps") == set()


OLD = r"moving\_mean = moving\_mean * momentum + \mu_{\beta} * (1. - momentum)"
NEW = r"\hat{x}_\text{new} = (1 - \text{momentum}) \times \hat{x} + \text{momentum} \times x_t"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (NEW, "new"),
        (OLD, "old"),
        (r"new\_running\_mean = (1 - momentum) * running\_mean + momentum * current\_mean", "new"),
        (r"x_{t} = \text{momentum} \cdot x_{t-1} + (1 - \text{momentum}) \cdot \mu", "old"),
        # Which of the two is kept cannot be told, or the weights are no such pair:
        (r"z = \text{momentum} \times a + (1 - \text{momentum}) \times b", None),
        (r"running\_mean = momentum * running\_mean + (1 - momentum) * running\_mean", None),
        (r"running\_mean = \alpha * running\_mean + (1 - \alpha) * \mu", None),
        (r"running\_mean = momentum * running\_mean + momentum * \mu", None),
        (r"running\_mean = momentum * running\_mean + (1 + momentum) * \mu", None),
        (r"running\_mean = momentum * running\_mean - (1 - momentum) * \mu", None),
        (r"momentum * running\_mean + (1 - momentum) * \mu", None),
    ],
)
def test_an_update_formula_tells_what_momentum_weighs_or_nothing(formula: str, expected: str | None) -> None:
    (read,) = read_latex(formula)
    assert momentum_weighs(read, "momentum") == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("moving_mean = moving_mean * momentum + mean(batch) * (1 - momentum)", "old"),
        ("self.running_var = (1 - decay) * self.running_var + decay * var", "new"),
        ("ema = decay * ema + (1 - decay) * x", "old"),
        ("running_mean += momentum * (mean - running_mean)", None),
    ],
)
def test_an_update_in_code_does_so_too(formula: str, expected: str | None) -> None:
    try:
        assert momentum_weighs(read_code(formula), "decay") == expected
    except Unreadable:
        assert expected is None


@given(st.text(st.sampled_from("\\{}[]()$`^_&+-=.,:*x \n>") | st.characters(), max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    texts = {"docstring": text, "math": f".. math:: {text}", "code": f"`{text}`", "entry": f"eps: {text}"}
    assert {one.subject for one in read_claims("batch_norm", texts, BATCH, {})} == set(subjects("batch_norm", BATCH))


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


# --- formulas in their surroundings ------------------------------------------------------------------

OUTSIDE = r"\frac{x-\mu}{\sigma + \epsilon}"


@pytest.mark.parametrize(
    "text",
    [
        f"It computes\n\n.. math::\n\n    {OUTSIDE}",
        f"It computes\n\n.. math:: {OUTSIDE}\n\nand more.",
        f"It computes\n\n.. math::\n    :nowrap:\n\n    a = b\n\n    y = {OUTSIDE}",
        f"It computes :math:`{OUTSIDE}` for all i.",
        f"It computes\n\n$$y = {OUTSIDE}$$\n\nfor all i.",
        f"It computes ${OUTSIDE}$ for all i.",
        f"It computes \\[{OUTSIDE}\\] or \\({OUTSIDE}\\).",
        "It computes `(x - mean) / (std + eps)`, say.",
        "It computes ``(x - mean) / (std + eps)``, say.",
        "It computes\n\n    y = (x - mean) / (std + eps)\n\nand returns it.",
        "x: the input\neps: a number, as in `y = (x - mean) / (std + eps)`",
    ],
)
def test_formulas_are_found_however_they_are_set(text: str) -> None:
    assert said("group_norm", text) == {"eps_placement": ["outside_sqrt"]}


@pytest.mark.parametrize(
    "text",
    [
        f"TensorFlow computes\n\n.. math:: {OUTSIDE}",
        f"Unlike here, elsewhere one finds :math:`{OUTSIDE}`.",
        f"It does not compute ${OUTSIDE}$.",
        f"When `robust=True`, the output is\n\n.. math:: {OUTSIDE}",
        f"If robust, it is :math:`{OUTSIDE}`.",
        "Instead of `(x - mean) / (std + eps)` it does something else.",
        ">>> y = (x - mean) / (std + eps)\n>>> y\n1",
        "```python\ny = (x - mean) / (std + eps)\n```",
        "Example::\n\n    >>> mean, std = 1, 2\n    >>> y = (x - mean) / (std + eps)\n",
    ],
)
def test_formulas_of_something_else_and_examples_claim_nothing(text: str) -> None:
    assert said("group_norm", text) == {}


def test_the_axes_of_another_layer_are_not_claimed() -> None:
    text = f"It updates :math:`{OLD}`."
    assert said("batch_norm", text) == {"momentum_weighs": ["old"]}
    assert said("group_norm", text, GROUP | {"momentum": "momentum"}) == {}


def test_the_quote_is_the_sentence_or_the_formula_and_the_place_is_named() -> None:
    entry = "Args:\n  eps: Small, and added to\n    variance. Good.\n"
    text = f"A layer. It computes\n\n.. math::\n    y   = {OUTSIDE}\n\n{entry}"
    found = {one.value: one for one in read_claims("group_norm", {"docstring of X": text}, GROUP, {})}
    assert found["outside_sqrt"].quote == f"y = {OUTSIDE}"
    assert found["outside_sqrt"].where == "docstring of X"
    assert found["inside_sqrt"].quote == "Small, and added to variance."
    assert found["inside_sqrt"].where == "eps in the docstring of X"
    within = {"docstring of X": f"Args:\n    eps: as in\n\n        .. math:: {OUTSIDE}\n"}
    (placed,) = [one for one in read_claims("group_norm", within, GROUP, {}) if one.value]
    assert placed.where == "eps in the docstring of X"


def test_a_quote_of_unusual_length_is_cut_and_what_never_ends_is_no_sentence() -> None:
    words = "eps: " + "a very small float, " * 30
    (quoted,) = [
        one.quote for one in read_claims("group_norm", {"X": f"{words}added to variance."}, GROUP, {}) if one.value
    ]
    assert len(quoted) == 400
    assert quoted.endswith(" ...")
    assert said("group_norm", f"eps: {words * 5}added to variance.") == {}


def test_eps_is_recognised_by_its_letter_where_no_entry_names_it() -> None:
    for letter in ("ε", ":math:`\\varepsilon`", "epsilon"):
        assert said("group_norm", f"Here {letter} is added to the variance.") == {"eps_placement": ["inside_sqrt"]}
    assert said("group_norm", "Here a number is added to the variance.") == {}


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
