"""Formulas as expressions, spelled the way a person writes them: `lr*(1 - beta1)/(1 - beta1**t)`.

A ratio of the algebra becomes an expression whose names carry their step; the printers of
expressions turn it into text or LaTeX.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from optzoo.description.forms.symbols import Symbols
from optzoo.program.expressions import (
    ZERO,
    Call,
    Expr,
    Name,
    NameAt,
    Num,
    add,
    call,
    div,
    format_number,
    mul,
    names_in,
    num,
    sub,
    substitute,
)
from optzoo.program.ratios import STEP, Atom, Monomial, Poly, Ratio


def spelled(ratio: Ratio, steady: Collection[str]) -> Expr:
    """Return a ratio as an expression; `steady` names do not move, the others carry their step."""
    if ratio.is_zero:
        return ZERO
    above: list[Expr] = []
    below: list[Expr] = []
    single_lr = len({a.offset for a in ratio.atoms if a.name == "lr"}) == 1
    factors = sorted(ratio.factors, key=lambda f: _rank(f[0], single_lr))
    scale, turned = _turned(ratio.scale, factors)
    for poly, exponent in factors:
        factor = _sum(poly.scaled(Fraction(-1)) if poly in turned else poly, steady)
        (above if exponent > 0 else below).append(_raised(factor, abs(exponent)))
    size = abs(scale)
    if is_decimal(size):
        above = [num(size), *above] if size != 1 or not above else above
    else:
        above = [num(size.numerator), *above] if size.numerator != 1 or not above else above
        below = [num(size.denominator), *below]
    if scale < 0:
        above[0] = call("neg", above[0])
    top = _product(above)
    return div(top, _product(below)) if below else top


def _product(factors: Sequence[Expr]) -> Expr:
    return reduce(mul, factors)


def _raised(base: Expr, exponent: int) -> Expr:
    return base if exponent == 1 else call("pow", base, num(exponent))


def is_decimal(value: Fraction) -> bool:
    """Whether a number is a finite decimal of few digits, such as 0.1."""
    text = format_number(value)
    return "/" not in text and len(text) <= 8


def _turned(scale: Fraction, factors: Sequence[tuple[Poly, int]]) -> tuple[Fraction, set[Poly]]:
    """Return which sums to write with the other sign, and the sign that is left outside.

    Written are t - 1 and 1 - beta1; beta1 - beta3 is turned to use up a minus.
    """
    turned: set[Poly] = set()
    for poly, exponent in factors:
        if dict(poly.terms).get(((STEP, 1),), 0) < 0:
            turned.add(poly)
            scale = -scale if exponent % 2 else scale
    odd = [p for p, k in factors if k % 2 and p not in turned]
    free = [p for p in odd if _is_product(p)] + [p for p in odd if _has_no_side(p)]
    if scale < 0 and free:
        turned.add(free[-1])
        scale = -scale
    return scale, turned


def _is_product(poly: Poly) -> bool:
    """Whether this is 1 - a*b, which may as well be a*b - 1."""
    degrees = [sum(k for _, k in monomial) for monomial, _ in poly.terms]
    return len(degrees) == 2 and min(degrees) == 0 and max(degrees) > 1


def _has_no_side(poly: Poly) -> bool:
    """Whether a difference reads as well with the other sign."""
    signs = {c > 0 for _, c in poly.terms}
    return len(signs) == 2 and () not in dict(poly.terms) and STEP not in poly.atoms


def _rank(poly: Poly, lr_first: bool) -> tuple[int, bool, Poly]:
    """Order factors: lr at the front, numbers and names, then sums; a ratio of lrs at the end."""
    is_lr = len(poly.terms) == 1 and min(poly.atoms).name == "lr"
    return (0 if not is_lr else (-1 if lr_first else 1), len(poly.terms) > 1, poly)


def _sum(poly: Poly, steady: Collection[str]) -> Expr:
    """Return a polynomial, lowest degree first, beginning with something positive if it can."""
    ordered = sorted(poly.terms, key=lambda term: (sum(k for _, k in term[0]), term[0]))
    if ordered[0][1] < 0:
        ordered.sort(key=lambda term: term[1] < 0)
    total: Expr | None = None
    for monomial, coefficient in ordered:
        term = _term(monomial, abs(coefficient), steady)
        if total is None:
            total = _negative(term) if coefficient < 0 else term
        else:
            total = (sub if coefficient < 0 else add)(total, term)
    assert total is not None
    return total


def _term(monomial: Monomial, size: Fraction, steady: Collection[str]) -> Expr:
    factors = [_raised(_name(atom, steady), k) for atom, k in monomial]
    return _product([num(size), *factors] if size != 1 or not factors else factors)


def _negative(term: Expr) -> Expr:
    """Return a product with a minus at its first factor, where a person puts it."""
    if isinstance(term, Call) and term.op == "mul":
        return Call("mul", (_negative(term.args[0]), term.args[1]))
    return call("neg", term)


def _name(atom: Atom, steady: Collection[str]) -> Expr:
    """Return an atom: `beta1`, `c(t)`, `beta3(t-1)`, `beta1**t`."""
    if atom.power:
        is_name = atom.name.isidentifier()
        return call(
            "pow", Name(atom.name) if is_name else Num(Fraction(atom.name)), Name(STEP.name)
        )
    if atom == STEP or atom.name in steady:
        return Name(atom.name)
    return NameAt(atom.name, offset=atom.offset)


# ------------------------------------------------------------------ what names stand for


@dataclass(frozen=True)
class Definition:
    """What a name in a formula stands for, as the program computes it."""

    name: Name
    value: Expr


def definitions(symbols: Symbols, ratios: Iterable[Ratio]) -> list[Definition]:
    """Return what the names in formulas stand for, in the order in which they are met.

    The learning rate and the hyperparameters are left out.
    """
    lines = {name.id: expr for name, expr in symbols.lines.items() if name.when == "now"}
    pending = [a.name for ratio in ratios for a in sorted(ratio.atoms)]
    found: dict[str, Definition] = {}
    while pending:
        name = pending.pop(0)
        if Name(name) in symbols.sums and name not in found:
            found[name] = Definition(NameAt(name), symbols.sums[Name(name)])
        if name in lines and name not in found:
            shown = Name(name) if name in symbols.steady else NameAt(name)
            found[name] = Definition(shown, in_own_names(_at_steps(lines[name], symbols), symbols))
            pending += [n.id for n in names_in(lines[name])]
            if Name(name) in symbols.starts:
                start = symbols.starts[Name(name)]
                found[name] = Definition(Name(f"{start.state.id}(0)"), start.value)
    return list(found.values())


def in_own_names(formula: Expr, symbols: Symbols) -> Expr:
    """Return a formula in which what a state was before a step is its value a step earlier."""

    def own(name: Name) -> Name | None:
        start = symbols.starts.get(Name(name.id))
        if start is None or not isinstance(name, NameAt):
            return None
        return NameAt(start.state.id, offset=name.offset - 1)

    return substitute(formula, own)


def _at_steps(expr: Expr, symbols: Symbols) -> Expr:
    offsets = {"prev": -1, "now": 0, "next": 1}

    def at(name: Name) -> Name | None:
        if name.id in symbols.steady or name.id == STEP.name:
            return None
        return NameAt(name.id, offset=offsets[name.when])

    return substitute(expr, at)
