"""Prose that is recognised: a table of narrow patterns, each with what it claims and what makes it claim nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Somebody else's behaviour, or what is not done: such a sentence claims nothing of this layer.
_OTHERS: Final = (
    r"\b(?:PyTorch|TensorFlow|Keras|MLX|Flax|Haiku|Caffe2?|cuDNN|Paddle\w*|MXNet|Theano|ONNX|Sonnet)\b"
    r"|\b(?:unlike|contrast|convention\w*|previous(?:ly)?|formerly|older|earlier|deprecated)\b"
)
_DENIED: Final = (
    r"\b(?:not|never|neither|nor|cannot|no longer|instead of|rather than|different(?:ly)? from|differs?)\b|n't\b"
)
#: A sentence about one of several ways of using the layer; which one is measured is not known here.
CONDITION: Final = r"\b(?:if|unless|otherwise|optionally)\b|\b(?:when|with)\b[^.]*(?:=|\bis\b|\bTrue\b|\bFalse\b)"
NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
ELSEWHERE: Final = f"{_OTHERS}|{_DENIED}"
#: What a sentence must not have that is plainly about this layer as it is.
PLAINLY: Final = f"{ELSEWHERE}|{CONDITION}"
_ESTIMATED: Final = r"(?:is|are) (?:calculated|computed|estimated) (?:via|with|using|by) the"
_SPREAD: Final = r"(?:variance|standard[- ]deviation)s?"
_RUNNING: Final = r"\b(?:running|moving|stored|tracked)\b"
_EPS_ADDED: Final = r"\badd(?:ed)?\b(?: an?(?: \w+){1,3})? to (?:the )?(?:batch )?"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Prose that claims ``value`` of ``subject``: a sentence with ``pattern`` in it and without ``unless``.

    With ``clause``, both are looked for in each clause of the sentence by itself. With ``about``, the sentence
    stands in that setting's own entry or, outside of entries, names it. ``layer`` is for an axis that both
    kinds of layer have.
    """

    subject: str
    value: str
    pattern: str
    unless: str
    about: str | None = None
    layer: str | None = None
    clause: bool = False


def _variances(value: str) -> tuple[Rule, ...]:
    """What is said of the variances, ``value`` being ``biased`` or ``unbiased``."""
    estimator = rf"{_SPREAD} {_ESTIMATED} {value} estimator\b"
    return (
        Rule(
            subject="variance", value=value, layer="group_norm",
            pattern=rf"\b{estimator}", unless=f"{PLAINLY}|{_RUNNING}",
        ),
        Rule(  # of two variances: the clause has to say that it means the one that normalises
            subject="variance", value=value, layer="batch_norm", clause=True,
            pattern=rf"(?=.*\b(?:train|forward|normali[sz])).*\b{estimator}", unless=f"{ELSEWHERE}|{_RUNNING}",
        ),
        Rule(
            subject="running_var", value=value,
            pattern=rf"\b(?:running|moving)(?: average of the)? {estimator}", unless=PLAINLY,
        ),
    )  # fmt: skip


#: Each pattern is matched, whatever the case, in text without its markup.
RULES: Final[tuple[Rule, ...]] = (
    Rule(
        subject="eps_placement", value="inside_sqrt", about="eps",
        pattern=rf"{_EPS_ADDED}variance\b",
        unless=rf"{PLAINLY}|\bafter\b|\boutside\b|\broot\b|\bstandard",
    ),
    Rule(
        subject="eps_placement", value="outside_sqrt", about="eps",
        pattern=rf"{_EPS_ADDED}(?:standard[- ]deviation|std(?:dev)?|square root of (?:the )?variance)\b",
        unless=rf"{PLAINLY}|\bbefore\b|\binside\b",
    ),
    Rule(
        subject="grouping", value="contiguous",
        pattern=r"\bgroups?\b.*\b(?:adjacent|contiguous|consecutive) channels\b",
        unless=rf"{PLAINLY}|\binterleav",
    ),
    Rule(
        subject="grouping", value="interleaved",
        pattern=r"\bgroups?\b.*\binterleaved channels\b|\bchannels are interleaved\b.*\bgroups?\b",
        unless=rf"{PLAINLY}|\b(?:adjacent|contiguous|consecutive)\b",
    ),
    *_variances("biased"),
    *_variances("unbiased"),
    Rule(
        subject="affine_shape", value="per_channel",
        pattern=r"\b(?:per[- ]channel|channel-?wise) affine (?:transform|param)"
        r"|\blearn(?:ed|able) per feature dimension param"
        r"|\b(?:scale|offset|weight|bias|gamma|beta) per channel\b",
        unless=rf"{ELSEWHERE}|\bper[- ]group\b",
    ),
    Rule(
        subject="affine_shape", value="per_group",
        pattern=r"\b(?:per[- ]group|group-?wise) affine (?:transform|param)"
        r"|\b(?:scale|offset|weight|bias|gamma|beta) per group\b",
        unless=rf"{ELSEWHERE}|\bper[- ]channel\b",
    ),
    Rule(
        subject="momentum_weighs", value="old", about="momentum",
        pattern=r"\bdecay(?: rate| factor)? (?:for|of) the (?:(?:exponential )?(?:moving|running) average|EMA)\b"
        r"|\bdecay rate for EMA\b",
        unless=PLAINLY,
    ),
    Rule(
        subject="momentum_none", value="cumulative", about="momentum",
        pattern=r"\bNone for (?:a )?(?:cumulative|simple) (?:moving )?average\b",
        unless=ELSEWHERE,
    ),
    Rule(
        subject="training_normalizes_with", value="batch",
        pattern=r"\b(?:during training|training=True)\b.*\bnormali[sz]es? its (?:inputs?|outputs?) (?:using|with|by) "
        rf"the mean and {_SPREAD} of the current batch\b",
        unless=rf"{ELSEWHERE}|{_RUNNING}|\binference\b",
    ),
    Rule(
        subject="untracked_eval_uses", value="batch",
        pattern=r"\bIf {track} is (?:set to )?False\b"
        r".*\bbatch statistics are (?:instead )?used (?:during|in) evaluation\b",
        unless=_OTHERS,
    ),
)  # fmt: skip
