"""Tapes: an elementwise program as a list of torch calls that write into given memory.

A tape works on slots: the parameter, the gradient and the buffers, numbers, and a few scratch
tensors that are reused as soon as their value has been read for the last time. New values go
straight into the parameter and the buffers where the plan allows. Patterns that torch has one call
for (`lerp`, `addcmul`, `addcdiv`, `add` with `alpha`) become that call.

A tape is built once per program, knows no shapes, and runs on blocks of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from optzoo.program.expressions import ONE, Call, Expr, Name, Num, names_in, one_minus, substitute
from optzoo.program.ir import GRAD, PARAM, Line
from optzoo.program.planning import Plan, Reduction

Slot = torch.Tensor | float
"""What a slot holds while a tape runs: a tensor or a number."""


@dataclass(frozen=True)
class Instruction:
    """`function(*args, keyword=number, out=out)`; all but the function are slots."""

    function: Callable[..., Any]
    args: tuple[int, ...]
    out: int
    keyword: str | None = None
    number: int = -1


@dataclass(frozen=True)
class Tape:
    """Slots 0, 1, ... are the parameter, the gradient, the buffers, then `numbers` (numbers per
    tensor), `coefficients` (numbers per step) and `scratch` temporaries. `results` are the slots
    that hold the squares to be summed, for a tape that ends in norms.
    """

    instructions: tuple[Instruction, ...]
    numbers: tuple[Name, ...]
    coefficients: tuple[Expr, ...]
    scratch: int
    results: tuple[int, ...] = ()

    def run(self, values: list[Slot]) -> None:
        """Execute on slot values; the scratch tensors have the block's shape."""
        for step in self.instructions:
            args = [values[i] for i in step.args]
            if step.keyword is None:
                step.function(*args, out=values[step.out])
            elif step.keyword == "alpha":
                step.function(*args, out=values[step.out], alpha=values[step.number])
            else:
                step.function(*args, out=values[step.out], value=values[step.number])


def tape_of_step(plan: Plan) -> Tape:
    """Return the tape of a plan's last pass, the one that stores."""
    return _Builder(plan, plan.lines).finish()


def tape_of_reductions(plan: Plan, k: int) -> Tape:
    """Return the tape of the k-th pass that ends in norms; it stores nothing."""
    each = plan.passes[k]
    return _Builder(plan, each.lines, each.reductions).finish()


def _copy(a: Any, *, out: Any) -> None:
    out.copy_(a)


def _neg(a: Any, *, out: Any) -> None:
    torch.mul(a, -1.0, out=out)


def _minimum(a: Any, b: Any, *, out: Any) -> None:
    (torch.minimum if isinstance(b, torch.Tensor) else torch.clamp_max)(a, b, out=out)


def _maximum(a: Any, b: Any, *, out: Any) -> None:
    (torch.maximum if isinstance(b, torch.Tensor) else torch.clamp_min)(a, b, out=out)


def _fill(a: Any, *, out: Any) -> None:
    if isinstance(a, torch.Tensor):
        out.copy_(a.expand_as(out))
    else:
        out.fill_(a)


_UNARY = {"sqrt": torch.sqrt, "abs": torch.abs, "sign": torch.sign, "neg": _neg}
_BINARY: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "min": _minimum,
    "max": _maximum,
}
_SYMMETRIC = ("add", "mul", "min", "max")


class _Builder:
    """Turns lines into instructions; see `Tape` for the slots.

    While building, numbers and scratch have negative provisional slots, because their count is not
    known before the end: -1 - 2*i for constants, -2 - 2*i for scratch.
    """

    def __init__(
        self, plan: Plan, lines: Sequence[Line], reductions: Sequence[Reduction] = ()
    ) -> None:
        self.plan = plan
        self.reductions = reductions
        self.stores = () if reductions else plan.stores
        self.fixed: dict[Name, int] = {PARAM.prev: 0, GRAD: 1}
        for i, name in enumerate(plan.buffers):
            self.fixed[Name(name, "prev")] = i + 2
        self.coefficient_of = dict(plan.coefficients)
        self.number_names = {name for name, _ in plan.numbers}
        self.slots: dict[Name, int] = dict(self.fixed)
        self.constants: list[Name | Expr] = []
        self.free: list[int] = []
        self.num_scratch = 0
        self.out: list[Instruction] = []
        self.lines = self._inline(lines, reductions)
        self.uses = Counter(name for line in self.lines for name in names_in(line.expr))

    # -------------------------------------------------------------- lines

    def _inline(self, lines: Sequence[Line], reductions: Sequence[Reduction]) -> list[Line]:
        """Put names that are read once into the line that reads them, where that reads the same."""
        result = list(lines)
        kept = {*self.stores, *(name for each in reductions for name in names_in(each.argument))}
        for line in lines:
            readers = [r for r in result if line.target in names_in(r.expr)]
            if len(readers) != 1 or line.target in kept:
                continue
            reader = readers[0]
            if sum(name == line.target for name in names_in(reader.expr)) != 1:
                continue
            current = next(r for r in result if r.target == line.target)
            between = result[result.index(current) + 1 : result.index(reader)]
            read = set(names_in(current.expr))
            if any(b.target in self.stores and b.target.prev in read for b in between):
                continue
            expr = substitute(reader.expr, {current.target: current.expr}.get)
            result[result.index(reader)] = Line(reader.target, expr, reader.source)
            result.remove(current)
        return result

    def finish(self) -> Tape:
        self.uses.update(n for each in self.reductions for n in names_in(each.argument))
        self.uses.update(s for s in self.stores if s in self.plan.late)
        for line in self.lines:
            self._line(line)
        results = []
        for each in self.reductions:
            value = self.value(each.argument)
            self.release(value)
            results.append(self.emit(torch.mul, (value, value), None))
        for name in self.stores:
            if name in self.plan.late:
                self.out.append(Instruction(_copy, (self.slots[name],), self.fixed[name.prev]))
        return self._tape(results)

    def _line(self, line: Line) -> None:
        name = line.target
        in_place = name in self.stores and name not in self.plan.late
        home = self.fixed[name.prev] if in_place else None
        slot = self.value(line.expr, home)
        is_number = self.is_number(slot)
        if is_number or slot != (home if in_place else slot) or isinstance(line.expr, Name):
            self.release(slot)
            slot = self.emit(_fill if is_number else _copy, (slot,), home)
        self.slots[name] = slot

    def _tape(self, results: list[int]) -> Tape:
        first = len(self.fixed)
        numbers = [c for c in self.constants if isinstance(c, Name) and c in self.number_names]
        others = [c for c in self.constants if c not in numbers]
        place = {id(c): first + i for i, c in enumerate([*numbers, *others])}
        scratch = first + len(self.constants)

        def final(slot: int) -> int:
            if slot >= 0:
                return slot
            if slot % 2 == 0:
                return scratch + (-slot - 2) // 2
            return place[id(self.constants[(-slot - 1) // 2])]

        instructions = tuple(
            Instruction(
                i.function,
                tuple(final(a) for a in i.args),
                final(i.out),
                i.keyword,
                final(i.number) if i.keyword else -1,
            )
            for i in self.out
        )
        expressions = tuple(
            self.coefficient_of.get(c, c) if isinstance(c, Name) else c for c in others
        )
        return Tape(
            instructions,
            tuple(n for n in numbers if isinstance(n, Name)),
            expressions,
            self.num_scratch,
            tuple(final(r) for r in results),
        )

    # -------------------------------------------------------------- slots

    def constant(self, value: Name | Expr) -> int:
        for i, known in enumerate(self.constants):
            if known == value:
                return -1 - 2 * i
        self.constants.append(value)
        return 1 - 2 * len(self.constants)

    def is_number(self, slot: int) -> bool:
        return slot < 0 and slot % 2 == 1

    def is_scratch(self, slot: int) -> bool:
        return slot < 0 and slot % 2 == 0

    def release(self, *slots: int) -> None:
        """Say that a value has been read; scratch that no name holds any more becomes free."""
        for slot in set(slots):
            held = any(s == slot and self.uses[name] > 0 for name, s in self.slots.items())
            if self.is_scratch(slot) and not held and slot not in self.free:
                self.free.append(slot)

    def emit(
        self,
        function: Callable[..., Any],
        args: tuple[int, ...],
        home: int | None,
        keyword: str | None = None,
        number: int = -1,
    ) -> int:
        """Append an instruction whose arguments are released already; return where it writes."""
        if home is not None:
            out = home
        elif self.free:
            reused = [slot for slot in args if slot in self.free]
            out = reused[0] if reused else self.free[-1]
            self.free.remove(out)
        else:
            self.num_scratch += 1
            out = -2 * self.num_scratch
        self.out.append(Instruction(function, args, out, keyword, number))
        return out

    # -------------------------------------------------------------- expressions

    def value(self, expr: Expr, home: int | None = None) -> int:
        """Return the slot of a value; a new tensor goes to `home` if that is given."""
        if isinstance(expr, Num):
            return self.constant(expr)
        if isinstance(expr, Name):
            if expr in self.slots:
                self.uses[expr] -= 1
                return self.slots[expr]
            return self.constant(expr)
        if expr.op in ("add", "sub"):
            return self.sum(expr, home)
        if expr.op == "square":
            a = self.value(expr.args[0], home)
            self.release(a)
            return self.emit(torch.mul, (a, a), home)
        if expr.op in _UNARY:
            a = self.value(expr.args[0], home)
            self.release(a)
            return self.emit(_UNARY[expr.op], (a,), home)
        first, *rest = expr.args
        result = first
        for arg in rest[:-1]:  # min and max of many
            result = Call(expr.op, (result, arg))
        return self.binary(expr.op, result, rest[-1], home)

    def binary(self, op: str, left: Expr, right: Expr, home: int | None) -> int:
        b = self.value(right)
        a = self.value(left, home if b != home else None)
        if self.is_number(a) and not self.is_number(b):
            if op in _SYMMETRIC:
                a, b = b, a
            elif op == "sub":
                self.release(b)
                b = self.emit(_neg, (b,), None)
                self.release(b)
                return self.emit(torch.add, (b, a), home)
            else:
                self.release(b)
                b = self.emit(torch.reciprocal, (b,), None)
                self.release(b)
                return self.emit(torch.mul, (b, a), home)
        self.release(a, b)
        return self.emit(_BINARY[op], (a, b), home)

    def sum(self, expr: Call, home: int | None) -> int:
        """Return a sum or difference by the one torch call that fits."""
        left, right = expr.args
        is_sum = expr.op == "add"
        (ca, a), (cb, b) = self.scaled(left), self.scaled(right)
        if is_sum and ca is not None and cb is not None and self.adds_to_one(ca, cb):
            return self.call(torch.lerp, a, (self.value(b),), home, self.exact(cb))
        if is_sum and ca is not None and cb is None and not self.is_product(b):
            left, right, ca, a, cb, b = right, left, cb, b, ca, a
        if self.is_constant(right) or self.is_constant(left):
            return self.binary(expr.op, left, right, home)
        factor = ONE if cb is None else cb
        if isinstance(b, Call) and b.op == "div" and not self.is_constant(b.args[1]):
            top, bottom = b.args
            inner, top = self.scaled(top)
            if inner is not None:
                factor = inner if factor == ONE else Call("mul", (factor, inner))
            if not self.is_constant(top):
                others = (self.value(top), self.value(bottom))
                return self.call(torch.addcdiv, left, others, home, self.signed(factor, is_sum))
        if self.is_product(b):
            assert isinstance(b, Call)
            factors = tuple(self.value(arg) for arg in b.args)
            pair = factors * 2 if b.op == "square" else factors
            return self.call(torch.addcmul, left, pair, home, self.signed(factor, is_sum))
        if cb is None:
            return self.binary(expr.op, left, right, home)
        return self.call(torch.add, left, (self.value(b),), home, self.signed(cb, is_sum))

    def call(
        self,
        function: Callable[..., Any],
        lead: Expr,
        others: tuple[int, ...],
        home: int | None,
        number: Expr,
    ) -> int:
        """Emit a call with tensors and one number per step; `lead` may be computed in `home`."""
        first = self.value(lead, home if home not in others else None)
        self.release(first, *others)
        constant = self.constant(number)
        if function is torch.lerp:
            return self.emit(function, (first, *others, constant), home)
        keyword = "alpha" if function is torch.add else "value"
        return self.emit(function, (first, *others), home, keyword, constant)

    # -------------------------------------------------------------- patterns

    def is_constant(self, expr: Expr) -> bool:
        """Whether an operand is a number, per step or per tensor."""
        return isinstance(expr, Num) or (
            isinstance(expr, Name) and (expr in self.coefficient_of or expr in self.number_names)
        )

    def is_per_step(self, expr: Expr) -> bool:
        return isinstance(expr, Num) or (isinstance(expr, Name) and expr in self.coefficient_of)

    def is_product(self, expr: Expr) -> bool:
        """Whether an expression is a product of two tensors."""
        if not isinstance(expr, Call) or expr.op not in ("mul", "square"):
            return False
        return not any(self.is_constant(arg) for arg in expr.args)

    def scaled(self, expr: Expr) -> tuple[Expr | None, Expr]:
        """Split `c*x`, or `c*(d*x)`, into a number per step, or None, and a tensor."""
        if not isinstance(expr, Call) or expr.op != "mul":
            return None, expr
        a, b = expr.args
        factor, rest = (a, b) if self.is_per_step(a) else (b, a)
        if not self.is_per_step(factor):
            return None, expr
        inner, tensor = self.scaled(rest)
        if inner is None or self.is_per_step(rest):
            return factor, rest
        return Call("mul", (self.exact(factor), self.exact(inner))), tensor

    def exact(self, coefficient: Expr) -> Expr:
        """Return a number per step in terms of the program's scalars."""
        return substitute(coefficient, self.coefficient_of.get)

    def adds_to_one(self, a: Expr, b: Expr) -> bool:
        a, b = self.exact(a), self.exact(b)
        return b == one_minus(a) or a == one_minus(b)

    def signed(self, factor: Expr, is_positive: bool) -> Expr:
        factor = self.exact(factor)
        return factor if is_positive else Call("neg", (factor,))
