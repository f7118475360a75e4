"""What a formula of a documentation says: a small tree, and the questions asked of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Symbol:
    """``\\hat{x}_\\text{new}`` is the symbol x_hat with the subscript new."""

    name: str
    sub: str = ""

    @property
    def full(self) -> str:
        return "_".join(part for part in (self.name, self.sub) if part)


@dataclass(frozen=True)
class Sum:
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Product:
    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Quotient:
    over: Expression
    under: Expression


@dataclass(frozen=True)
class Power:
    base: Expression
    exponent: Expression


@dataclass(frozen=True)
class Call:
    """A function with its arguments: ``sqrt(v)``, and ``E[x]`` alike."""

    name: str
    arguments: tuple[Expression, ...]


Expression = Number | Symbol | Sum | Product | Quotient | Power | Call
#: The sides of an equation, in order; one side where there is no equals sign.
Formula = tuple[Expression, ...]


def parts(node: Expression) -> Iterator[Expression]:
    """The node and everything within it."""
    yield node
    match node:
        case Sum(inner) | Product(inner) | Call(_, inner):
            children: Sequence[Expression] = inner
        case Quotient(a, b) | Power(a, b):
            children = (a, b)
        case _:
            children = ()
    for child in children:
        yield from parts(child)


_VARIANCE: Final = re.compile(r"(?:^|_)(?:var|variance|v)(?:$|_)", re.IGNORECASE)
_DEVIATION: Final = re.compile(
    r"(?:^|_)(?:std|stddev|stdev|sd|sigma|σ|deviation|standard_deviation)(?:$|_)", re.IGNORECASE
)
_EPS: Final = frozenset({"eps", "epsilon", "varepsilon", "ε"})
_LARGER: Final = frozenset({"max", "maximum"})
_KEPT: Final = re.compile(r"(?:^|_)(?:running|moving|ema|old|previous|prev)(?:$|_)", re.IGNORECASE)
_NEW: Final = re.compile(r"(?:^|_)(?:new|current|batch|observed)(?:$|_)", re.IGNORECASE)
#: Subscripts of the statistic before the update, by its subscript after it.
_BEFORE: Final = {"": ("", "old"), "new": ("", "old"), "t": ("tminus1",), "tplus1": ("t",)}
_HALF: Final = (Number(0.5), Quotient(Number(1.0), Number(2.0)))


def eps_placements(formula: Formula, eps: str) -> set[str]:
    """The values of the axis ``eps_placement`` that the formula shows."""
    found = set()
    names = _EPS | {eps}

    def is_eps(node: Expression) -> bool:
        return isinstance(node, Symbol) and node.name in names

    def beside_eps(node: Expression) -> Expression | None:
        """What eps is added to, where the node is such a sum of two terms."""
        if not isinstance(node, Sum) or len(node.terms) != 2:
            return None
        others = [term for term in node.terms if not is_eps(term)]
        return others[0] if len(others) == 1 else None

    for node in (inner for side in formula for inner in parts(side)):
        under_root = _under_root(node)
        if under_root is not None:
            other = beside_eps(under_root)
            if other is not None and (_is_variance(other) or _is_deviation(other)):
                found.add("inside_sqrt")
            match under_root:
                case Call(name, (a, b)) if name.lower() in _LARGER:
                    if any(is_eps(one) and _is_variance(two) for one, two in ((a, b), (b, a))):
                        found.add("max_with_variance")
        for factor in _divisors(node):
            other = beside_eps(factor)
            if other is not None and _is_deviation(other):
                found.add("outside_sqrt")
    return found


def momentum_weighs(formula: Formula, momentum: str) -> str | None:
    """``old`` or ``new`` for an update ``kept = a * kept + b * batch`` with momentum and 1 - momentum as weights."""
    match formula:
        case (Symbol() as target, Sum((one, two))):
            weighed = dict(filter(None, (_weighed(one, momentum), _weighed(two, momentum))))
        case _:
            return None
    kept = [weight for weight, value in weighed.items() if _is_kept(value, target)]
    if set(weighed) != {"momentum", "rest"} or len(kept) != 1:
        return None
    return "old" if kept == ["momentum"] else "new"


def _weighed(term: Expression, momentum: str) -> tuple[str, Expression] | None:
    """What a term weighs, and with which weight: momentum, or the rest of 1."""
    factors = term.factors if isinstance(term, Product) else ()
    if len(factors) != 2:
        return None
    for weight, value in (factors, factors[::-1]):
        match weight:
            case Symbol(name=name) if name in {momentum, "momentum"}:
                return "momentum", value
            case Sum((Number(1.0), Product((Number(-1.0), Symbol(name=name))))) if name in {momentum, "momentum"}:
                return "rest", value
    return None


def _is_kept(value: Expression, target: Symbol) -> bool:
    """Whether the value is the statistic that the update replaces."""
    if not isinstance(value, Symbol) or _NEW.search(value.full):
        return False
    before = value.sub in _BEFORE.get(target.sub, ())
    return (value.name == target.name and before) or bool(_KEPT.search(value.full))


def _under_root(node: Expression) -> Expression | None:
    match node:
        case Call(name, (argument, *_)) if name.lower() in {"sqrt", "rsqrt"}:
            return argument
        case Power(base, exponent) if exponent in _HALF or _opposite(exponent) in _HALF:
            return base
    return None


def _opposite(exponent: Expression) -> Expression:
    match exponent:
        case Number(value):
            return Number(-value)
        case Product((Number(-1.0), inner)):
            return inner
        case Quotient(Number(value), under):
            return Quotient(Number(-value), under)
    return exponent


def _divisors(node: Expression) -> Sequence[Expression]:
    match node:
        case Quotient(_, Product(factors)):
            return factors
        case Quotient(_, under):
            return (under,)
        case Power(base, Number(-1.0)):
            return (base,)
    return ()


def _is_variance(node: Expression) -> bool:
    match node:
        case Symbol():
            return bool(_VARIANCE.search(node.full))
        case Call(name, _):
            return bool(_VARIANCE.search(name))
        case Power(base, Number(2.0)):
            return _is_deviation(base)
    return False


def _is_deviation(node: Expression) -> bool:
    under_root = _under_root(node)
    if under_root is not None:
        return _is_variance(under_root)
    match node:
        case Symbol():
            return bool(_DEVIATION.search(node.full))
        case Call(name, _):
            return bool(_DEVIATION.search(name))
    return False
