"""Formulas as people write them: rational functions to text, without loss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction

from optzoo.description.algebra import STEP, Atom, Poly, Ratio
from optzoo.description.symbols import Symbols
from optzoo.program.expressions import (
    Expr,
    Name,
    format_expression,
    format_number,
    names_in,
    substitute,
)

Writer = Callable[[Atom], str]


def text_writer(steady: Collection[str]) -> Writer:
    """Return how atoms are written: `beta1`, `c(t)`, `beta3(t-1)`, `beta1**t`.

    A trailing `_t` of what moves is dropped: `beta3_t` is beta3(t).
    """

    def write(atom: Atom) -> str:
        if atom.power:
            return f"{atom.name}**t"
        if atom == STEP or atom.name in steady:
            return atom.name
        return f"{schedule_name(atom.name)}({step_text(atom.offset)})"

    return write


def schedule_name(name: str) -> str:
    """Return the name of a scalar without the `_t` that marks it as one."""
    return name.removesuffix("_t") or name


def step_text(offset: int) -> str:
    """Return `t`, `t-1`, `t+1`."""
    return f"t{offset:+d}" if offset else "t"


def formula(ratio: Ratio, steady: Collection[str]) -> str:
    """Return a ratio as text: `lr*(1 - beta1)/(1 - beta1**t)`; `steady` names do not move."""
    if ratio.is_zero:
        return "0"
    write = text_writer(steady)
    sign, above, below = _parts(ratio, write)
    only = len(above) == 1 and not below and not sign
    top = "*".join(f"({x})" if is_sum and not only else x for x, is_sum in above)
    if not below:
        return sign + top
    bottom = "*".join(f"({x})" if is_sum else x for x, is_sum in below)
    return f"{sign}{top}/({bottom})" if len(below) > 1 else f"{sign}{top}/{bottom}"


def _parts(
    ratio: Ratio, write: Writer
) -> tuple[str, list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Return the sign, the factors above the line and those below it; True marks a sum."""
    above: list[tuple[str, bool]] = []
    below: list[tuple[str, bool]] = []
    single_lr = len({a.offset for a in ratio.atoms if a.name == "lr"}) == 1
    factors = sorted(ratio.factors, key=lambda f: _rank(f[0], single_lr))
    scale, turned = _turned(ratio.scale, factors)
    for poly, exponent in factors:
        shown = poly.scaled(Fraction(-1)) if poly in turned else poly
        text, is_sum = poly_text(shown, write)
        count = abs(exponent)
        if count > 1:
            text = f"({text})**{count}" if is_sum or "**" in text else f"{text}**{count}"
            is_sum = False
        (above if exponent > 0 else below).append((text, is_sum))
    size = abs(scale)
    if is_decimal(size):
        if size != 1 or not above:
            above.insert(0, (format_number(size), False))
    else:
        if size.numerator != 1 or not above:
            above.insert(0, (str(size.numerator), False))
        below.insert(0, (str(size.denominator), False))
    return ("-" if scale < 0 else ""), above, below


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


def poly_text(poly: Poly, write: Writer) -> tuple[str, bool]:
    """Return a polynomial as text, lowest degree first, and whether it is a sum."""
    ordered = sorted(poly.terms, key=lambda term: (sum(k for _, k in term[0]), term[0]))
    if ordered[0][1] < 0:  # begin with something positive
        ordered.sort(key=lambda term: term[1] < 0)
    text = ""
    for monomial, coefficient in ordered:
        names = [write(a) if k == 1 else f"{write(a)}**{k}" for a, k in monomial]
        size = abs(coefficient)
        if size != 1 or not names:
            names.insert(0, format_number(size))
        if text:
            text += " - " if coefficient < 0 else " + "
        elif coefficient < 0:
            text = "-"
        text += "*".join(names)
    return text, len(ordered) > 1 or text.startswith("-")


def definitions(symbols: Symbols, ratios: Iterable[Ratio]) -> dict[str, str]:
    """Return what the names in formulas stand for, as the program computes them.

    The keys are written as in formulas, `alpha(t)`; learning rate and hyperparameters are left out.
    """
    lines = {name.id: expr for name, expr in symbols.lines.items() if name.when == "now"}
    pending = [a.name for ratio in ratios for a in sorted(ratio.atoms)]
    found: dict[str, str] = {}
    while pending:
        name = pending.pop(0)
        key = name if name in symbols.steady else f"{schedule_name(name)}(t)"
        if name in lines and key not in found:
            found[key] = _spelled(lines[name], symbols)
            pending += [n.id for n in names_in(lines[name])]
    return found


def _spelled(expr: Expr, symbols: Symbols) -> str:
    offsets = {"prev": -1, "now": 0, "next": 1}

    def spell(name: Name) -> Name | None:
        if name.id in symbols.steady or name.id == "t":
            return None
        return Name(f"{schedule_name(name.id)}({step_text(offsets[name.when])})")

    return format_expression(substitute(expr, spell))
