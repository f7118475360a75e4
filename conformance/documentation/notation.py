"""Reading formulas: LaTeX and code-like text become the tree of :mod:`normgauge.conformance.documentation.formulas`.

What cannot be read for certain is left out: a formula that is misread would accuse a documentation of
what it does not say.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from normgauge.conformance.documentation.formulas import (
    Call,
    Expression,
    Formula,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    Symbol,
)


class Unreadable(ValueError):
    """The text is no formula of the kind that is read here."""


_LONGEST: Final = 2000


def _negative(value: Expression) -> Expression:
    return Number(-value.value) if isinstance(value, Number) else Product((Number(-1.0), value))


def _sum(*terms: Expression) -> Expression:
    flat = tuple(inner for term in terms for inner in (term.terms if isinstance(term, Sum) else (term,)))
    return flat[0] if len(flat) == 1 else Sum(flat)


def _product(*factors: Expression) -> Expression:
    flat = tuple(inner for one in factors for inner in (one.factors if isinstance(one, Product) else (one,)))
    return flat[0] if len(flat) == 1 else Product(flat)


# --- code-like text ---------------------------------------------------------------------------------

_AS_CODE: Final = {"√(": "sqrt(", "²": "**2", "^": "**", "−": "-", "×": "*", "·": "*"}


def read_code(text: str) -> Formula:
    """``y = (x - mean) / sqrt(var + eps)``, in Python's grammar.

    Raises:
        Unreadable: the text is not one assignment or one expression of arithmetic.
    """
    for written, meant in _AS_CODE.items():
        text = text.replace(written, meant)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(" ".join(text[:_LONGEST].split())).body
        match body:
            case [ast.Assign(targets=targets, value=value)]:
                return (*(_of_code(target) for target in targets), _of_code(value))
            case [ast.Expr(value=value)]:
                return (_of_code(value),)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise Unreadable(text)


def _of_code(node: ast.expr) -> Expression:
    read: Expression
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            read = Number(float(value))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            read = Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            read = _negative(_of_code(operand))
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            read = Call(name, (_of_code(inner),))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=named):
            read = Call(name, _arguments_of_code(given, named))
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=given, keywords=named):
            # np.sqrt(v) is the function, x.var(0) the variance of x.
            of = () if given and isinstance(owner, ast.Name) else (_of_code(owner),)
            read = Call(name, of + _arguments_of_code(given, named))
        case ast.BinOp(left=left, op=operation, right=right):
            read = _binary(operation, _of_code(left), _of_code(right))
        case _:
            raise Unreadable(type(node).__name__)
    return read


def _arguments_of_code(given: Sequence[ast.expr], named: Sequence[ast.keyword]) -> tuple[Expression, ...]:
    known = []
    for one in (*given, *(keyword.value for keyword in named)):
        try:
            known.append(_of_code(one))
        except Unreadable:  # a tuple of axes, a flag
            continue
    return tuple(known)


def _binary(operation: ast.operator, left: Expression, right: Expression) -> Expression:
    match operation:
        case ast.Add():
            return _sum(left, right)
        case ast.Sub():
            return _sum(left, _negative(right))
        case ast.Mult():
            return _product(left, right)
        case ast.Div():
            return Quotient(left, right)
        case ast.Pow():
            return Power(left, right)
    raise Unreadable(type(operation).__name__)


# --- LaTeX -------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r"\s*(?P<token>\\[A-Za-z]+|\\.|[^\W\d_](?:[^\W\d_]|\\_)*|\d+(?:\.\d*)?|\.\d+|:=|//|\S)", re.DOTALL
)
_ENVIRONMENT: Final = re.compile(r"\\(?:begin|end)\{(?:aligned|align\*?|split|equation\*?|gathered)\}")
_FRACTIONS: Final = frozenset({"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"})
_UPRIGHT: Final = frozenset(
    f"\\{name}" for name in ("mathrm", "text", "textrm", "textit", "texttt", "operatorname", "mathit", "mathsf",
                             "mathtt", "mathbf", "mathbb", "mathcal", "rm", "mbox", "textbf")
)  # fmt: skip
_ACCENTS: Final = frozenset({"\\hat", "\\bar", "\\tilde", "\\widehat", "\\overline", "\\widetilde"})
_SPACES: Final = frozenset(
    {"\\,", "\\;", "\\:", "\\!", "\\ ", "\\\n", "~", "&", "\\left", "\\right", "\\big", "\\Big", "\\bigg", "\\Bigg",
     "\\bigl", "\\bigr", "\\Bigl", "\\Bigr", "\\displaystyle", "\\limits", "\\nonumber"}
)  # fmt: skip
_EQUALS: Final = frozenset({"=", ":=", "\\gets", "\\leftarrow", "\\coloneqq", "\\triangleq"})
_TIMES: Final = frozenset({"*", "\\times", "\\cdot", "\\ast", "\\odot"})
_ENDS: Final = frozenset({",", ";", ".", "\\\\", "\\quad", "\\qquad", "//"})
_CLOSING: Final = frozenset({")", "]", "}", "\\}"})
_BRACKETS: Final = {"(": ")", "{": "}", "[": "]", "\\{": "\\}"}
#: Words before a parenthesis that take it as their argument; before others it is a factor.
_FUNCTIONS: Final = frozenset({"sqrt", "rsqrt", "max", "maximum", "var", "variance", "std", "mean", "e"})
_REFUSED: Final = frozenset(
    {"\\over", "\\begin", "\\end", "\\pm", "\\mp", "\\le", "\\leq", "\\ge", "\\geq", "\\in", "\\neq", "\\approx",
     "\\sim", "\\to", "\\rightarrow", "\\mod", "\\bmod", "\\lfloor", "\\rfloor", "\\div", "\\quad", "\\qquad"}
)  # fmt: skip


def read_latex(text: str) -> list[Formula]:
    r"""Every formula of a LaTeX text; ``\\``, ``\quad`` and top-level commas part formulas, and what is unreadable
    between two such is left out."""
    found = []
    bare = _ENVIRONMENT.sub(" ", text[:_LONGEST]).replace("²", "^2")
    for piece in _pieces([match["token"] for match in _TOKEN.finditer(bare)]):
        try:
            found.append(_Latex(piece).formula())
        except (ValueError, RecursionError):
            continue
    return found


def _pieces(tokens: Sequence[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    depth = 0
    for token in (one for one in tokens if one not in _SPACES):
        depth += (token in _BRACKETS) - (token in _CLOSING)
        if depth == 0 and token in _ENDS:
            yield piece
            piece = []
        else:
            piece.append(token)
    yield piece


class _Latex:
    """A recursive-descent reader of one formula's tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place = tokens, 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or (wanted is not None and token != wanted):
            raise Unreadable(f"{token or 'the end'} where {wanted or 'more'} should be")
        self.place += 1
        return token

    def formula(self) -> Formula:
        sides = [self.expression()]
        while self.peek() in _EQUALS:
            self.take()
            sides.append(self.expression())
        if self.peek():
            raise Unreadable(self.peek())
        return tuple(sides)

    def expression(self) -> Expression:
        terms = [self.signed()]
        while self.peek() in {"+", "-"}:
            terms.append(self.signed())
        return _sum(*terms)

    def signed(self) -> Expression:
        sign = self.take() if self.peek() in {"+", "-"} else "+"
        return self.term() if sign == "+" else _negative(self.term())

    def term(self) -> Expression:
        value = self.factor()
        while (token := self.peek()) and token not in _EQUALS | _CLOSING | {"+", "-", ","}:
            if token == "/":
                self.take()
                value = Quotient(value, self.factor())
                continue
            if token in _TIMES:
                self.take()
            value = _product(value, self.factor())
        return value

    def factor(self) -> Expression:
        value = self.atom()
        while self.peek() in {"^", "_", "[", "'"}:
            match self.take():
                case "^":
                    exponent = self.group() if self.peek() == "{" else self.atom()
                    value = Power(value, exponent)
                case "_":
                    value = _with_sub(value, self.script())
                case "'":
                    value = _with_sub(value, "prime")
                case "[":
                    if not isinstance(value, Symbol):
                        raise Unreadable("[")
                    value = Call(value.name, (self.expression(),))
                    self.take("]")
        return value

    def group(self, opening: str = "{") -> Expression:
        self.take(opening)
        value = self.expression()
        self.take(_BRACKETS[opening])
        return value

    def arguments(self) -> tuple[Expression, ...]:
        closing = _BRACKETS[self.take()]
        values = [self.expression()]
        while self.peek() == ",":
            self.take()
            values.append(self.expression())
        self.take(closing)
        return tuple(values)

    def script(self) -> str:
        """A subscript as plain text."""
        if self.peek() != "{":
            token = self.take()
            return self.raw() if token in _UPRIGHT and self.peek() == "{" else _plain(token)
        return self.raw()

    def raw(self) -> str:
        """The text of a braced group, without its commands for upright letters."""
        self.take("{")
        depth, words = 1, []
        while depth:
            token = self.take()
            depth += (token == "{") - (token == "}")
            if token not in _UPRIGHT | {"{", "}"}:
                words.append(_plain(token))
        return "_".join(word for word in words if word) if all(word.isalnum() for word in words) else "".join(words)

    def atom(self) -> Expression:
        token = self.peek()
        if token in {"(", "{", "["}:
            return self.group(token)
        self.take()
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return Number(float(token))
        if token in {*_FRACTIONS, "\\sqrt", "\\sum"}:
            return self.operation(token)
        if token in _UPRIGHT:
            return self.called(Symbol(self.raw() if self.peek() == "{" else _plain(self.take())))
        if token in _ACCENTS:
            return self.accented(token)
        return self.named(token)

    def operation(self, token: str) -> Expression:
        if token in _FRACTIONS:
            return Quotient(self.group(), self.group())
        return self.root() if token == "\\sqrt" else self.summed()

    def accented(self, token: str) -> Expression:
        inner = self.group() if self.peek() == "{" else self.atom()
        if not isinstance(inner, Symbol):
            raise Unreadable(token)
        return replace(inner, mark=token[1:])

    def named(self, token: str) -> Expression:
        macro = token[0] == "\\" and token[1:2].isalpha() and token not in _REFUSED
        if not (token[0].isalpha() or macro):
            raise Unreadable(token)
        if macro and self.peek() == "{":  # a macro of one's own around something
            return self.group()
        return self.called(Symbol(_plain(token)))

    def root(self) -> Expression:
        if self.peek() == "[" and self.arguments() != (Number(2.0),):
            raise Unreadable("a root other than the square root")
        if self.peek() == "(":
            raise Unreadable("\\sqrt takes the parenthesis alone")
        if self.peek() == "{":
            return Call("sqrt", (self.group(),))
        token = self.take()
        if len(token) > 1 and token[0] != "\\":  # \sqrt Var: the root of V alone, which nobody means
            raise Unreadable(token)
        return Call("sqrt", (Symbol(_plain(token)),))

    def called(self, symbol: Symbol) -> Expression:
        if self.peek() in {"(", "\\{"} and symbol.name.lower() in _FUNCTIONS:
            return Call(symbol.name, self.arguments())
        return symbol

    def summed(self) -> Expression:
        while self.peek() in {"_", "^"}:
            self.take()
            self.script()
        return Call("sum", (self.term(),))


def _plain(token: str) -> str:
    return token.replace("\\_", "_").lstrip("\\")


def _with_sub(value: Expression, sub: str) -> Expression:
    match value:
        case Symbol():
            return replace(value, sub="_".join(part for part in (value.sub, sub) if part))
        case Power(base, exponent):
            return Power(_with_sub(base, sub), exponent)
    return value
