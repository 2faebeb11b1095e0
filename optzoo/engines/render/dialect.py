"""One printer of expressions for every language that steps are rendered in.

A dialect is a table of rows, one an operation: a template, how tightly what it makes binds, and how
tightly each argument has to. Languages share the rows of `INFIX` and bring their own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.errors import Diagnostic, InputError
from optzoo.program.expressions import Call, Expr, Name, Num, format_expression
from optzoo.program.ops import OPS
from optzoo.program.planning import Plan

SUM, PRODUCT, SIGN, ATOM = 1, 2, 3, 9
"""How tightly text binds, loosest first."""


@dataclass(frozen=True)
class Row:
    """How one operation is written: `template` takes the arguments' texts."""

    template: str
    level: int = ATOM
    arguments: tuple[int, ...] = (0, 0)


INFIX: dict[str, Row] = {
    "add": Row("{} + {}", SUM, (SUM, SUM + 1)),
    "sub": Row("{} - {}", SUM, (SUM, SUM + 1)),
    "mul": Row("{} * {}", PRODUCT, (PRODUCT, PRODUCT + 1)),
    "div": Row("{} / {}", PRODUCT, (PRODUCT, PRODUCT + 1)),
    "neg": Row("-{}", SIGN, (ATOM,)),
}


class UnwritableError(InputError):
    """An operation that a language has no row for: another engine runs it."""

    def __init__(self, op: str) -> None:
        reason = f"`{OPS[op].text}` is not rendered as source in this language"
        hint = "the eager engine runs the step; `optzoo show RECIPE --program` prints it"
        super().__init__(Diagnostic("no-source", reason, hint=hint))


COMPARED = {"less": "<", "greater": ">", "equal": "=="}
"""Comparisons, as every language here writes them."""


@dataclass(frozen=True)
class Dialect:
    """The rows of a language, how it writes numbers, and words that are no names there.

    A language may write `min` and `max` in another way where the second argument is a literal
    ("min literal", "max literal").
    """

    rows: Mapping[str, Row]
    literal: Callable[[Fraction], str]
    reserved: frozenset[str]

    def text(self, expr: Expr, names: Mapping[Name, str], level: int = 0) -> str:
        """Return an expression as text, in parentheses if it binds less tightly than `level`."""
        if isinstance(expr, Num):
            return self.literal(expr.value)
        if isinstance(expr, Name):
            return names[expr]
        if expr.op in ("min", "max"):
            return self._bound(expr, names)
        row = self.rows.get(expr.op)
        if row is None:
            raise UnwritableError(expr.op)
        texts = [self.text(a, names, n) for a, n in zip(expr.args, row.arguments, strict=False)]
        result = row.template.format(*texts)
        return result if row.level >= level else f"({result})"

    def _bound(self, expr: Call, names: Mapping[Name, str]) -> str:
        """Return the smallest or largest of some arguments, by two at a time, numbers last."""
        first, *rest = sorted(expr.args, key=lambda arg: isinstance(arg, Num))
        result = self.text(first, names)
        for arg in rest:
            kind = f"{expr.op} literal" if isinstance(arg, Num) else expr.op
            row = self.rows.get(kind, self.rows[expr.op])
            result = row.template.format(result, self.text(arg, names))
        return result


class Identifiers:
    """Identifiers for the names of a plan, none of them reserved and no two the same."""

    def __init__(self, dialect: Dialect) -> None:
        self._taken = set(dialect.reserved)

    def fresh(self, wish: str) -> str:
        """Return an identifier that is not in use, and take it."""
        if len(wish) > 1 and wish.isupper():  # as the macros of C are
            wish += "_v"
        while wish in self._taken:
            wish += "_"
        self._taken.add(wish)
        return wish

    def of(self, name: Name) -> str:
        """Return an identifier for a name of the program, as close to its own text as may be."""
        return self.fresh(name.id if name.when == "now" else f"{name.id}_{name.when}")


@dataclass(frozen=True)
class Spelling:
    """What the names of a plan are called in a rendered step."""

    olds: dict[Name, str]
    """The gradient, and what the parameter and the buffers hold on entry, in the order of slots."""
    coefficients: dict[Name, str]
    norms: dict[Name, str]
    numbers: dict[Name, str]
    lines: dict[Name, str]

    @property
    def all(self) -> dict[Name, str]:
        """Every name with its identifier."""
        return {**self.coefficients, **self.norms, **self.numbers, **self.olds, **self.lines}


def spell(plan: Plan, identifiers: Identifiers) -> Spelling:
    """Choose identifiers: the program's own names; c1, n1, norm1 for what has none."""

    def numbered(pairs: Sequence[tuple[Name, Expr]], letter: str) -> dict[Name, str]:
        spelt, count = {}, 0
        for name, expr in pairs:
            if isinstance(expr, Name) and letter == "c":
                spelt[name] = identifiers.of(expr)
            else:
                count += 1
                spelt[name] = identifiers.fresh(f"{letter}{count}")
        return spelt

    olds = {name: identifiers.of(name) for name in plan.inputs}
    lines = [line for each in plan.passes for line in each.lines] + list(plan.lines)
    spelt = {name: identifiers.of(name) for name in dict.fromkeys(ln.target for ln in lines)}
    reductions = [(r.name, r.argument) for each in plan.passes for r in each.reductions]
    return Spelling(
        olds,
        numbered(plan.coefficients, "c"),
        numbered(reductions, "norm"),
        numbered(plan.numbers, "n"),
        spelt,
    )


def heading(plan: Plan, spelling: Spelling) -> list[str]:
    """Return the lines that a rendered step begins with: its scalars, and what c1, c2 stand for."""
    rows = [f"One step of {plan.program.name} on all parameters.", ""]
    rows += map(str, plan.program.scalars)
    for name, expr in plan.coefficients:
        spelt = spelling.coefficients[name]
        if str(name) != spelt:
            rows.append(f"{spelt} := {format_expression(expr)}")
    return rows


def narrow_slots(plan: Plan, narrow: Collection[str]) -> set[Name]:
    """Return what these hold on entry, names of buffers or `param`, as far as the plan has them."""
    return {name for name in plan.inputs if name.when == "prev" and name.id in narrow}


def random_words(plan: Plan, narrow: Collection[Name]) -> list[int]:
    """Return the words of 32 random bits that an element's narrow slots need, see `word_of`."""
    return sorted({place // 2 for place, name in enumerate(plan.inputs) if name in narrow})


def word_of(plan: Plan, name: Name) -> tuple[int, str]:
    """Return the word that a stored name is rounded by, and the operator that takes its 16 bits.

    Slots 2k and 2k + 1 share word k, whatever else is narrow.
    """
    word, half = divmod(plan.inputs.index(name.prev), 2)
    return word, " >> 16" if half else " & 0xffff"
