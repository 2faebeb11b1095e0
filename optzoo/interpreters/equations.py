"""The text interpreter: a program as the equations of a paper, in plain text or LaTeX.

Step t takes the gradient g_t at the point w_t and leaves w_{t+1}; a buffer m goes from m_{t-1} to
m_t. Scalars that move carry the index t. What a debiasing divides by is put where it is used. The
same printer writes formulas, whose names carry a step: `lr*beta3(t-1)`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from optzoo.program.expressions import (
    ONE,
    SIZES,
    Call,
    Expr,
    Name,
    NameAt,
    Num,
    constant_value,
    format_number,
    names_in,
    num,
    step_text,
    substitute,
)
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.ops import OPS, Op
from optzoo.program.reading import as_told, told_starts
from optzoo.program.tensors.polar_lists import list_named

Style = Literal["text", "latex"]

GREEK = frozenset(
    [
        *("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "kappa", "lambda", "mu"),
        *("nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
    ]
)
SYMBOLS = {"eps": r"\varepsilon", "weight_decay": r"\lambda", "grad": "g", "param": "w"}
SYMBOLS["preconditioned"] = r"\tilde{g}"
MINUS_ONE = num(-1)
_BELOW = {"whole": "", "row": "_{j}", "column": "_{i}", "block": r"_{\mathrm{block}}"}
"""What a reduction runs over, as an index: within a row over the columns j."""
_COMPARISONS = {"less": "<", "greater": ">", "equal": "="}
SUM, PRODUCT, SIGN, POWER, ATOM = 1, 2, 3, 4, 9


@dataclass(frozen=True)
class Equation:
    """One equation: what is defined, and as what."""

    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} = {self.right}"


@dataclass(frozen=True)
class Printed:
    """A printed expression and how tightly its outermost operation binds."""

    text: str
    level: int = ATOM


class Printer:
    """Prints expressions of one program; `moving` scalars carry the step, `taken` letters stay."""

    def __init__(
        self, style: Style, *, moving: frozenset[str], taken: frozenset[str] = frozenset()
    ) -> None:
        self.is_latex = style == "latex"
        self.moving = moving
        self.taken = taken
        self.has_eta = any(name.startswith("eta") for name in taken)

    # ---------------------------------------------------------------- names

    def name(self, name: Name) -> str:
        """Return a name with its index."""
        ident, index = name.id, self.index(name)
        if not self.is_latex:
            base = {"grad": "g", "param": "w"}.get(ident, ident)
            base = ident if base in self.taken else base
            base = base.removesuffix("_t") if index else base
            return base if not index else f"{base}_{index if index == 't' else '{' + index + '}'}"
        return self._latex_name(ident.removesuffix("_t") if index else ident, index)

    def at_start(self, name: str) -> str:
        """Return what a state is called before the first step."""
        if not self.is_latex:
            return f"{name}_0"
        is_other = not self.taken.isdisjoint([f"{name}0", f"{name}_0"])  # it looks the same
        return self._latex_name(name, "t=0" if is_other else "0")

    def index(self, name: Name) -> str:
        """Return the step that a name stands for, "" for one that never changes."""
        if name.id == PARAM.id:
            return "t" if name.when == "prev" else "t+1"
        if name.id not in self.moving:
            return ""
        if isinstance(name, NameAt):
            return step_text(name.offset)
        return {"now": "t", "prev": "t-1", "next": "t+1"}[name.when]

    def _latex_name(self, ident: str, index: str) -> str:
        known = SYMBOLS.get(ident)
        if known in self.taken:  # the recipe has a g or a w of its own
            known = _roman(ident)
        if ident == "lr":
            known = r"\mathrm{lr}" if self.has_eta else r"\eta"
        digits = ""
        if known is None:
            base, digits = re.fullmatch(r"(.*?)_?(\d*)", ident).groups()  # type: ignore[union-attr]
            if not base:
                base, digits = ident, ""
            head, _, tail = base.partition("_")
            if head in GREEK:
                known = "\\" + head
                digits = ",".join(p for p in (_roman(tail), digits) if p)
            elif len(base) == 1:
                known = base
            else:
                known = _roman(base)
        below = ",".join(part for part in (digits, index) if part)
        return f"{known}_{{{below}}}" if below else known

    # ---------------------------------------------------------------- expressions

    def expression(self, expr: Expr) -> str:
        """Return an expression as text."""
        return self.print(expr).text

    def print(self, expr: Expr) -> Printed:
        """Print an expression."""
        if isinstance(expr, Num):
            return self._number(expr.value)
        if isinstance(expr, Name):
            return Printed(self.name(expr))
        if expr.op in ("mul", "div"):
            return self._product(expr)
        rule: Callable[..., Printed] | None = getattr(self, f"_{expr.op}", None)
        return rule(*expr.args) if rule else self._function(expr.op, expr.args)

    def _number(self, value: Fraction) -> Printed:
        text = format_number(value).strip("()")
        if value < 0:
            return Printed(text, SIGN)
        if "/" in text:
            return self._over(Printed(str(value.numerator)), Printed(str(value.denominator)))
        if self.is_latex and "e" in text:
            mantissa, exponent = text.split("e")
            power = f"10^{{{int(exponent)}}}"
            return Printed(power if mantissa == "1" else rf"{mantissa}\cdot {power}", PRODUCT)
        return Printed(text)

    def _product(self, expr: Call) -> Printed:
        above: list[Expr] = []
        below: list[Expr] = []
        _factors(expr, above, below)
        negative = (above + below).count(MINUS_ONE) % 2 == 1
        above = [f for f in above if f != MINUS_ONE]
        below = [f for f in below if f != MINUS_ONE]
        printed = self._times(above)
        if below:
            printed = self._over(printed, self._times(below))
        return self._minus(printed) if negative else printed

    def _minus(self, printed: Printed) -> Printed:
        """Put a minus before a product or what binds tighter; -a*b is a product, -a a factor."""
        text = "-" + self._wrapped(printed, PRODUCT)
        return Printed(text, PRODUCT if printed.level == PRODUCT else SIGN)

    def _times(self, factors: Sequence[Expr]) -> Printed:
        if not factors:
            return Printed("1")
        if len(factors) == 1:
            return self.print(factors[0])
        parts = [self._wrapped(self.print(f), PRODUCT + 1) for f in factors]
        if not self.is_latex:
            return Printed("*".join(parts), PRODUCT)
        text = parts[0]
        for left, right in zip(factors, parts[1:], strict=False):
            number = right[:1].isdigit() or (isinstance(left, Num) and right.startswith("10^"))
            text += (r" \cdot " if number else r" \, ") + right
        return Printed(text, PRODUCT)

    def _over(self, above: Printed, below: Printed) -> Printed:
        if self.is_latex:
            return Printed(rf"\frac{{{above.text}}}{{{below.text}}}", PRODUCT)
        over, under = self._wrapped(above, PRODUCT), self._wrapped(below, PRODUCT + 1)
        return Printed(f"{over}/{under}", PRODUCT)

    def _wrapped(self, printed: Printed, level: int) -> str:
        if printed.level >= level:
            return printed.text
        return rf"\left({printed.text}\right)" if self.is_latex else f"({printed.text})"

    def _add(self, a: Expr, b: Expr) -> Printed:
        if isinstance(b, Call) and b.op == "neg":
            return self._sub(a, b.args[0])
        return Printed(f"{self.print(a).text} + {self._wrapped(self.print(b), SUM)}", SUM)

    def _sub(self, a: Expr, b: Expr) -> Printed:
        return Printed(f"{self.print(a).text} - {self._wrapped(self.print(b), PRODUCT)}", SUM)

    def _neg(self, a: Expr) -> Printed:
        return self._minus(self.print(a))

    def _raised(self, base: str, exponent: str) -> Printed:
        if self.is_latex:
            return Printed(f"{{{base}}}^{{{exponent}}}", POWER)
        return Printed(f"{base}^{exponent}", POWER)

    def _square(self, a: Expr) -> Printed:
        return self._raised(self._wrapped(self.print(a), ATOM), "2")

    def _pow(self, a: Expr, b: Expr) -> Printed:
        exponent = self.print(b)
        text = exponent.text if self.is_latex else self._wrapped(exponent, ATOM)
        return self._raised(self._wrapped(self.print(a), ATOM), text)

    def _exp(self, a: Expr) -> Printed:
        return self._raised("e", self.print(a).text) if self.is_latex else self._call("exp", [a])

    def _sqrt(self, a: Expr) -> Printed:
        if self.is_latex:
            return Printed(rf"\sqrt{{{self.print(a).text}}}")
        return self._call("sqrt", [a])

    def _abs(self, a: Expr) -> Printed:
        if self.is_latex:
            return Printed(rf"\left|{self.print(a).text}\right|")
        return self._call("abs", [a])

    def _norm(self, a: Expr) -> Printed:
        text = self.print(a).text
        return Printed(rf"\left\lVert {text} \right\rVert" if self.is_latex else f"||{text}||")

    def _ratio(self, a: Expr, b: Expr) -> Printed:
        return self._over(self.print(a), self.print(b))

    def _model_sum(self, a: Expr) -> Printed:
        text = self.print(a).text
        return Printed(
            rf"\sum\nolimits_{{\mathrm{{model}}}}\left({text}\right)"
            if self.is_latex
            else f"sum({text}, model)"
        )

    def _positive(self, a: Expr) -> Printed:
        text = self.print(a).text
        return Printed(rf"\left[{text} > 0\right]" if self.is_latex else f"[{text} > 0]")

    def _cospi(self, a: Expr) -> Printed:
        angle = self._wrapped(self.print(a), PRODUCT)
        text = rf"\cos\left(\pi \, {angle}\right)" if self.is_latex else f"cos(pi*{angle})"
        return Printed(text)

    def _compared(self, sign: str, a: Expr, b: Expr) -> str:
        return f"{self.print(a).text} {sign} {self.print(b).text}"

    def _condition(self, expr: Expr) -> str:
        """Return a condition as a statement; what is no comparison holds where it is not 0."""
        if isinstance(expr, Call) and expr.op in _COMPARISONS:
            return self._compared(_COMPARISONS[expr.op], *expr.args)
        differs = r"\neq" if self.is_latex else "!="
        return f"{self.print(expr).text} {differs} 0"

    def _bracket(self, expr: Call) -> Printed:
        text = self._condition(expr)
        return Printed(rf"\left[{text}\right]" if self.is_latex else f"[{text}]")

    def _where(self, condition: Expr, a: Expr, b: Expr) -> Printed:
        first, last, when = self.print(a).text, self.print(b).text, self._condition(condition)
        if not self.is_latex:
            return Printed(f"({first} if {when}, else {last})")
        rows = rf"{first} & {when} \\ {last} & \text{{otherwise}}"
        return Printed(rf"\begin{{cases}}{rows}\end{{cases}}")

    def _mod(self, a: Expr, b: Expr) -> Printed:
        over, under = (self._wrapped(self.print(x), PRODUCT) for x in (a, b))
        return Printed(rf"{over} \bmod {under}" if self.is_latex else f"{over} mod {under}", SUM)

    def _tanh(self, a: Expr) -> Printed:
        text = self.print(a).text
        return Printed(rf"\tanh\left({text}\right)" if self.is_latex else f"tanh({text})")

    def _matmul(self, a: Expr, b: Expr) -> Printed:
        left = self._wrapped(self.print(a), PRODUCT)
        right = self._wrapped(self.print(b), PRODUCT + 1)
        return Printed(rf"{left} \, {right}" if self.is_latex else f"{left} @ {right}", PRODUCT)

    def _transpose(self, a: Expr) -> Printed:
        return self._raised(self._wrapped(self.print(a), ATOM), r"\top" if self.is_latex else "T")

    def _identity(self, _: Expr) -> Printed:
        return Printed("I")

    def _polar(self, a: Expr, *numbers: Expr, blocks: str = "") -> Printed:
        if self.is_latex:
            return self._call("polar", [a])
        name = list_named(tuple(constant_value(n) or Fraction(0) for n in numbers[2:]))
        return Printed(f"polar({self.print(a).text}, {name or 'its own coefficients'}{blocks})")

    def _block_polar(self, a: Expr, count: Expr, *numbers: Expr) -> Printed:
        blocks = self.print(count).text
        if not self.is_latex:
            return self._polar(a, *numbers, blocks=f", block({blocks})")
        return Printed(rf"\operatorname{{polar}}_{{{blocks}}}\left({self.print(a).text}\right)")

    def _power(self, a: Expr, b: Expr) -> Printed:
        return self._pow(a, b)

    def _reduction(self, op: Op, args: Sequence[Expr]) -> Printed:
        """Print a reduction; in LaTeX the index that it runs over stands below, j of columns."""
        name, inside = op.reduces or "", self.print(args[0]).text
        if not self.is_latex:
            kept = f"block({self.print(args[1]).text})" if op.kept == "block" else op.kept
            return Printed(f"{name}({inside})" if kept == "whole" else f"{name}({inside}, {kept})")
        below = _BELOW[op.kept]
        if name == "norm":
            return Printed(rf"\left\lVert {inside} \right\rVert{below}")
        known = {"largest": "max", "smallest": "min"}.get(name, name)
        head = rf"\{known}" if known in ("max", "min") else rf"\operatorname{{{known}}}"
        return Printed(rf"{head}{below}\left({inside}\right)")

    def _function(self, op: str, args: Sequence[Expr]) -> Printed:
        known = OPS[op]
        if op in _COMPARISONS:
            return self._bracket(Call(op, tuple(args)))
        if op in SIZES:
            return Printed(_roman(op) if self.is_latex else op)
        if known.reduces is not None:
            return self._reduction(known, args)
        if op.endswith("_take"):
            inside = ", ".join(self.print(a).text for a in args)
            side = op.removesuffix("_take")
            return self._call(op, args) if self.is_latex else Printed(f"take({inside}, {side})")
        return self._call(op, args)

    def _call(self, op: str, args: Sequence[Expr]) -> Printed:
        inside = ", ".join(self.print(a).text for a in args)
        if not self.is_latex:
            return Printed(f"{op}({inside})")
        known = op if op in ("min", "max", "log") else None
        head = f"\\{known}" if known else rf"\operatorname{{{op.replace('_', '-')}}}"
        return Printed(rf"{head}\left({inside}\right)")


def _roman(text: str) -> str:
    escaped = text.replace("_", r"\_")
    return rf"\mathrm{{{escaped}}}" if len(text) > 1 else text


def _factors(expr: Expr, above: list[Expr], below: list[Expr]) -> None:
    """Collect the factors of a product of products and quotients; a minus is the factor -1."""
    if isinstance(expr, Call) and expr.op == "mul":
        for arg in expr.args:
            _factors(arg, above, below)
    elif isinstance(expr, Call) and expr.op == "div":
        _factors(expr.args[0], above, below)
        _factors(expr.args[1], below, above)
    elif isinstance(expr, Call) and expr.op == "neg":
        above.append(MINUS_ONE)
        _factors(expr.args[0], above, below)
    elif expr != ONE:
        above.append(expr)


# ------------------------------------------------------------------ programs


def printer_for(program: Program, style: Style) -> Printer:
    """Return the printer of a program: what moves there carries an index."""
    moving = {s.name for s in program.states} | {line.target.id for line in program.step}
    moving |= {GRAD.id}
    for line in program.scalars:
        if any(n.id in moving | {"t", "lr"} or n.when != "now" for n in names_in(line.expr)):
            moving.add(line.target.id)
    if any(n == Name("lr", "prev") for n in program.names()):
        moving.add("lr")
    else:
        moving.discard("lr")
    taken = {n.id for n in program.names()} | {line.target.id for line in program.lines}
    return Printer(style, moving=frozenset(moving), taken=frozenset(taken))


def debiasing(program: Program) -> dict[Name, Expr]:
    """Return the scalars that are 1 over something, each as what it is: they read best in place."""
    kept = {state.name for state in program.states}
    found: dict[Name, Expr] = {}
    for line in program.scalars:
        expr = substitute(line.expr, found.get)
        is_inverse = isinstance(expr, Call) and expr.op == "div" and expr.args[0] == ONE
        if is_inverse and line.target.id not in kept:
            found[line.target] = expr
    return found


def equations(program: Program, style: Style = "text") -> list[Equation]:
    """Return the equations of a step, scalars first, and of the point that is evaluated.

    Starts that are expressions come first; sums over all parameters stand where they are read.
    """
    starts, program = told_starts(program), as_told(program)
    printer = printer_for(program, style)
    sums = {line.target: Call("model_sum", (line.expr,)) for line in program.pooled}
    inlined = {**debiasing(program), **sums}
    lines = [Equation(printer.at_start(name), printer.expression(e)) for name, e in starts.items()]
    lines += [
        Equation(printer.name(line.target), printer.expression(substitute(line.expr, inlined.get)))
        for line in program.lines
        if line.target not in inlined
    ]
    point = program.view("eval").expr
    if point != PARAM:
        shown = substitute(point, inlined.get)
        left = r"\text{evaluated}_{t+1}" if style == "latex" else "evaluated_{t+1}"
        lines.append(Equation(left, printer.expression(shown)))
    return lines


WIDTH = 110
"""Characters of a line of plain text, where an equation can be broken."""


def format_equations(program: Program) -> list[str]:
    """Return the equations as lines of plain text, aligned at the equals signs."""
    found = equations(program)
    width = max(len(e.left) for e in found)
    layout: dict[str, Any] = {"width": WIDTH, "subsequent_indent": " " * (width + 3)}
    layout |= {"break_long_words": False, "break_on_hyphens": False}
    lines = [f"{e.left:<{width}} = {e.right}" for e in found]
    return [part for line in lines for part in textwrap.wrap(line, **layout)]


def format_latex(found: Sequence[Equation]) -> list[str]:
    """Return equations as an `align*` environment (amsmath)."""
    rows = [rf"  {e.left} &= {e.right}" for e in found]
    return [r"\begin{align*}", *(row + r" \\" for row in rows[:-1]), rows[-1], r"\end{align*}"]
