"""Formulas in a documentation: what they claim, and where they are found. Texts are quotations or made up."""

from __future__ import annotations

import pytest
from claimed import BATCH, GROUP, OUTSIDE, said
from hypothesis import given, settings
from hypothesis import strategies as st

from normgauge.conformance.documentation.claims import read_claims, subjects
from normgauge.conformance.documentation.formulas import eps_placements, momentum_weighs
from normgauge.conformance.documentation.notation import Unreadable, read_code, read_latex

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
        (r"\frac{x - \mu}{\sqrt{s^2_\text{std} + \epsilon}}", {"inside_sqrt"}),
        (r"[x - \mu] / [\sigma + \epsilon]", {"outside_sqrt"}),
        (r"\frac{\lambda (x - \mu)}{\sigma + \epsilon}", {"outside_sqrt"}),  # a name, whatever Python makes of lambda
        (r"\frac{x - \mu}{\hat{\sigma}_\text{new} + \epsilon}", {"outside_sqrt"}),
        (r"\frac{x - \mu}{\text{standard deviation} + \epsilon}", {"outside_sqrt"}),
        # What says nothing of eps, or nothing for certain:
        (r"\frac{x - \mu}{\sigma + \hat{\epsilon}}", set()),
        (r"\frac{x - \mu}{\sigma + \epsilon} # n", set()),  # for Python a comment would begin
        (r"\frac{x - \mu}{n . \sigma + \epsilon}", set()),  # for Python an attribute
        (r"\begin{cases} \frac{x - \mu}{\sigma + \epsilon} \end{cases}", set()),
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


# --- formulas in their surroundings ------------------------------------------------------------------


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
