"""Reading formulas: LaTeX becomes code-like text, and that the tree of ``formulas``.

pylatexenc reads LaTeX, Python's own grammar reads code. What cannot be read for certain is left out: a formula that is
misread would accuse a documentation of what it does not say.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import keyword
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

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

#: Between a name and its subscript in LaTeX; for Python a letter.
_SUB: Final = "ˍ"
_AS_CODE: Final = {"√(": "sqrt(", "²": "**2", "^": "**", "−": "-", "×": "*", "·": "*"}


def read_code(text: str) -> Formula:
    """``y = (x - mean) / sqrt(var + eps)``, in Python's grammar.

    Raises:
        Unreadable: the text is not one assignment or one expression of arithmetic.
    """
    for written, meant in _AS_CODE.items():
        text = text.replace(written, meant)
    try:
        match _parsed(" ".join(text[:_LONGEST].split())):
            case [ast.Assign(targets=targets, value=value)]:
                return (*(_of_code(target) for target in targets), _of_code(value))
            case [ast.Expr(value=value)]:
                return (_of_code(value),)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise Unreadable(text)


def _parsed(text: str) -> list[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text).body


def _of_code(node: ast.expr) -> Expression:
    read: Expression
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            read = Number(float(value))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            bare, _, sub = name.partition(_SUB)
            read = Symbol(bare, sub.replace(_SUB, "_"))
        case ast.List(elts=[inner]):  # brackets in place of parentheses
            read = _of_code(inner)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            read = _negative(_of_code(operand))
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            read = Call(name.partition(_SUB)[0], (_of_code(inner),))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=named):
            read = Call(name.partition(_SUB)[0], _arguments_of_code(given, named))
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
    for one in (*given, *(argument.value for argument in named)):
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

_FRACTIONS: Final = ("frac", "dfrac", "tfrac", "cfrac")
_UPRIGHT: Final = (
    "mathrm", "text", "textrm", "textit", "texttt", "operatorname", "mathit", "mathsf", "mathtt", "mathbf", "mathbb",
    "mathcal", "mbox", "textbf",
)  # fmt: skip
_ACCENTS: Final = ("hat", "bar", "tilde", "widehat", "overline", "widetilde")
_ENVIRONMENTS: Final = frozenset({"aligned", "align", "split", "equation", "gathered"})
#: What stands beside it is not read.
_REFUSED: Final = "\0"
#: Macros that are no names, then characters with a meaning of their own, and how many arguments a macro takes.
_SIGNS: Final = {
    **dict.fromkeys((",", ";", ":", "!", " ", "\n", "displaystyle", "limits", "nonumber", "rm"), " "),
    **dict.fromkeys(("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr"), " "),
    **dict.fromkeys(("times", "cdot", "ast", "odot"), "*"),
    **dict.fromkeys(("gets", "leftarrow", "coloneqq", "triangleq"), "="),
    **dict.fromkeys(("\\", "quad", "qquad"), ";"),
    **dict.fromkeys(("over", "pm", "mp", "le", "leq", "ge", "geq", "in", "neq", "approx", "sim", "to"), _REFUSED),
    **dict.fromkeys(("rightarrow", "mod", "bmod", "lfloor", "rfloor", "div"), _REFUSED),
    "{": "(", "}": ")", "_": "_",
}  # fmt: skip
_SPECIALS: Final = {"^": "**", "_": _SUB, "&": " ", "~": " ", "²": "**2"}
_TAKING: Final = {**dict.fromkeys(_FRACTIONS, "{{"), **dict.fromkeys(_UPRIGHT + _ACCENTS, "{"), "sqrt": "[{"}
#: Words before a parenthesis that take it as their argument; before others it is a factor.
_FUNCTIONS: Final = frozenset({"sqrt", "rsqrt", "max", "maximum", "var", "variance", "std", "mean", "e"})
_WORD: Final = re.compile(r"\w+")
_PART: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+|\w+|//|\*\*|\S")
_ENDS: Final = frozenset({",", ";", ".", "//"})
_ARITHMETIC: Final = frozenset({*"+-*/()[],=", "**"})
_POWER_WITH_SUB: Final = re.compile(rf"(\*\*\s*(?:\d+|\((?:[^()]|\([^()]*\))*\)))({_SUB}\w+)")
_NAME_ALONE: Final = re.compile(rf"\s+(?={_SUB})|(?<=\)){_SUB}\w+")


def read_latex(text: str) -> list[Formula]:
    r"""Every formula of a LaTeX text; ``\\``, ``\quad`` and top-level commas part formulas, and what is unreadable
    between two such is left out."""
    from pylatexenc.latexwalker import LatexWalker, LatexWalkerError

    walker = LatexWalker(text[:_LONGEST], latex_context=_macros(), tolerant_parsing=False)
    try:
        nodes, _, _ = walker.get_latex_nodes(parsing_state=walker.make_parsing_state(in_math_mode=True))
        code = _of_nodes(nodes)
    except (LatexWalkerError, RecursionError):
        return []
    found = []
    for piece in _pieces(_NAME_ALONE.sub("", _POWER_WITH_SUB.sub(r"\2\1", code))):
        with contextlib.suppress(Unreadable):
            found.append(tuple(side for text in piece.split("=") for side in read_code(text)))
    return found


@functools.cache
def _macros() -> Any:
    """What pylatexenc knows of macros and characters, and before that the tables above."""
    from pylatexenc.latexwalker import get_default_latex_context_db
    from pylatexenc.macrospec import std_macro, std_specials

    known = get_default_latex_context_db()
    macros = [std_macro(*one) for one in _TAKING.items()]
    known.add_context_category("here", macros, specials=[*map(std_specials, _SPECIALS)], prepend=True)
    return known


def _of_nodes(nodes: Sequence[Any]) -> str:
    """LaTeX in Python's grammar, but for products without a sign."""
    written = ""
    for node, after in itertools.pairwise([*nodes, None]):
        text = _of_node(node, after)
        if written.endswith(_SUB):
            text = text.lstrip() if _kind(node) == "LatexCharsNode" else f"{_in_words(text)} "
        written += text
    return written


def _kind(node: Any) -> str:
    return type(node).__name__


def _of_node(node: Any, after: Any) -> str:
    if _kind(node) == "LatexCharsNode":
        return str(node.chars).replace("'", f"{_SUB}prime").replace(":=", "=")
    if _kind(node) == "LatexGroupNode":
        return f"({_of_nodes(node.nodelist)})"
    if _kind(node) == "LatexEnvironmentNode" and node.environmentname.rstrip("*") in _ENVIRONMENTS:
        return _of_nodes(node.nodelist)
    if _kind(node) == "LatexSpecialsNode":
        return _SPECIALS.get(node.specials_chars, _REFUSED)
    if _kind(node) == "LatexMacroNode":
        given = node.nodeargd.argnlist if node.nodeargd else ()
        taken = [_of_nodes([one]) for one in given if one is not None]
        return _of_macro(node.macroname, taken, _kind(after) == "LatexGroupNode")
    return _REFUSED


def _in_words(text: str) -> str:
    return "_".join(_WORD.findall(text.replace("-", "minus").replace("+", "plus")))


def _of_macro(name: str, taken: Sequence[str], before_group: bool) -> str:
    if name in _SIGNS:
        return _SIGNS[name]
    if name in _TAKING:
        return _of_known(name, taken) if taken else _REFUSED
    if taken or before_group:  # a macro of one's own around something
        return "".join(f"({one})" for one in taken)
    return f" {name} "


def _of_known(name: str, taken: Sequence[str]) -> str:
    if name in _FRACTIONS:
        return "(({})/({}))".format(*taken)
    if name == "sqrt":
        return f" sqrt({taken[-1]})" if taken[:-1] in ([], ["(2)"]) else _REFUSED
    if name in _UPRIGHT:
        return f" {_in_words(taken[0])} "
    accented = re.fullmatch(rf"[ (]*(\w+?)({_SUB}\w+)?[ )]*", taken[0])
    return f" {accented[1]}_{name}{accented[2] or ''} " if accented else _REFUSED


def _pieces(code: str) -> Iterator[str]:
    """The code of each formula, with a sign for every product."""
    piece: list[str] = []
    depth, ends_operand = 0, False
    for part in _PART.findall(code):
        depth += (part in {"(", "["}) - (part in {")", "]"})
        if depth == 0 and part in _ENDS:
            yield " ".join(piece)
            piece, ends_operand = [], False
            continue
        is_word = re.match(r"\w|\.\d", part) is not None
        is_argument = part == "(" and bool(piece) and piece[-1].lower() in _FUNCTIONS
        if ends_operand and (is_word or part == "(") and not is_argument:
            piece.append("*")
        ends_operand = is_word or part in {")", "]"}
        read = part if is_word or part in _ARITHMETIC else _REFUSED
        piece.append(f"{read}_" if keyword.iskeyword(read) else read)  # \lambda is a name here
    yield " ".join(piece)
