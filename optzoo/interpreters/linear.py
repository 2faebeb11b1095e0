"""The linear interpreter: a tensor is a linear form in the gradients, with exact coefficients.

What is not linear is told apart, not approximated. An operation that multiplies a linear form by
something that depends on gradients (the division by a root of squares, a mask, a sign, a clip) is
a *gain*: the form passes through as if that were 1, or what `gain` says, and the place is recorded.
A tensor that is no linear form at all (a running mean of squares) is `Opaque`. It carries the
number that it is multiplied by: k*mask*m and mask*(k*m) are the same form held by the same mask.

The coefficients live in any scalar domain: rationals decide, symbols print. This file does not
choose them and knows no recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from optzoo.program.arithmetic import NotRealError
from optzoo.program.domain import Domain, initial_memory, run_scalars
from optzoo.program.expressions import ZERO, Call, Expr, Name, Num
from optzoo.program.ir import GRAD, PARAM, Program

C = TypeVar("C")
Kind = Literal[
    "preconditioner",
    "orthogonaliser",
    "sign",
    "norm clip",
    "elementwise clip",
    "elementwise factor",
    "norm factor",
]


@dataclass(frozen=True)
class Form(Generic[C]):
    """A sum of coefficients times sources. A source that is missing has the coefficient 0."""

    terms: Mapping[Hashable, C]

    def __getitem__(self, source: Hashable) -> C | None:
        return self.terms.get(source)


@dataclass(frozen=True)
class Factor:
    """What is held fixed: `expr` multiplies a form, or divides it if `divides`."""

    kind: Kind
    expr: Expr
    divides: bool = False


@dataclass(frozen=True)
class Opaque(Generic[C]):
    """A tensor that is not a linear form: `coefficient` times all the `factors`.

    `is_norm` says that all its elements are one number, made of norms; `is_product` that linear
    forms are multiplied in it: times another form it has no linear part.
    """

    coefficient: C
    factors: tuple[Factor, ...]
    is_norm: bool = False
    is_product: bool = False

    def read_as(self, name: Name, one: C) -> Opaque[C]:
        """Return what a line holds under its name; a plain divisor is still told as one."""
        if all(factor.divides for factor in self.factors):
            return self
        kind: Kind = "norm factor" if self.is_norm else "elementwise factor"
        return replace(self, coefficient=one, factors=(Factor(kind, name),))


Value = Any
"""A scalar of the coefficient domain, a Form, or an Opaque."""


@dataclass(frozen=True)
class Gain:
    """A place where a linear form is multiplied by something held fixed."""

    kind: Kind
    line: Name
    sources: tuple[Hashable, ...]
    factor: Factor


@dataclass
class LinearDomain(Generic[C]):
    """Linear forms over a scalar domain; `gains` collects what was held fixed, line by line.

    `line` and `node` say which operation of which line is being applied. `gain` returns what a
    factor held fixed is taken to be, left out 1.
    """

    scalars: Domain[C]
    gain: Callable[[Factor], C] | None = None
    line: Name = PARAM
    node: Call | None = None
    gains: list[Gain] = field(default_factory=list)

    def number(self, value: Fraction) -> Value:
        """Return a literal."""
        return self.scalars.number(value)

    def read(self, expr: Expr, values: Mapping[Name, Value]) -> Value:
        """Return the value of an expression, remembering where each operation stands."""
        if isinstance(expr, Num):
            return self.number(expr.value)
        if isinstance(expr, Name):
            value = values[expr]
            return value.read_as(expr, self._one) if isinstance(value, Opaque) else value
        if expr.op == "where":
            condition = self.read(expr.args[0], values)
            if isinstance(condition, float | Fraction | Decimal):
                return self.read(expr.args[1 if condition != 0 else 2], values)
        args = [self.read(arg, values) for arg in expr.args]
        self.node = expr
        return self.apply(expr.op, args)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation to scalars, linear forms and opaque tensors."""
        if not any(_is_tensor(arg) for arg in args):
            return self.scalars.apply(op, args)
        rule = getattr(self, f"_{op}", None)
        return rule(*args) if rule is not None else self._opaque(*args)

    @property
    def _one(self) -> C:
        return self.scalars.number(Fraction(1))

    # ---------------------------------------------------------------- rules

    def _add(self, a: Value, b: Value) -> Value:
        if not (isinstance(a, Form) and isinstance(b, Form)):
            return self._opaque(a, b)
        terms = dict(a.terms)
        for source, value in b.terms.items():
            terms[source] = (
                self.scalars.apply("add", [terms[source], value]) if source in terms else value
            )
        return Form(terms)

    def _sub(self, a: Value, b: Value) -> Value:
        if not (isinstance(a, Form) and isinstance(b, Form)):
            return self._opaque(a, b)
        return self._add(a, self._neg(b))

    def _neg(self, a: Value) -> Value:
        return self._scaled(a, "neg")

    def _mul(self, a: Value, b: Value) -> Value:
        for i, (form, other) in enumerate(((a, b), (b, a))):
            if not _is_tensor(other):
                return self._scaled(form, "mul", other)
            if isinstance(form, Form) and isinstance(other, Opaque) and not other.is_product:
                return self._scaled(self._held(form, other.factors), "mul", other.coefficient)
            if isinstance(form, Form) and isinstance(other, Form) and not other.terms:
                return self._held(form, (Factor("elementwise factor", self._operand(1 - i)),))
        if isinstance(a, Opaque) and isinstance(b, Opaque):
            return Opaque(
                self.scalars.apply("mul", [a.coefficient, b.coefficient]),
                a.factors + b.factors,
                a.is_norm and b.is_norm,
                a.is_product or b.is_product,
            )
        return replace(self._opaque(a, b), is_product=True)

    def _div(self, a: Value, b: Value) -> Value:
        if not _is_tensor(b):
            return self._scaled(a, "div", b)
        is_norm = isinstance(b, Opaque) and b.is_norm
        divisor = Factor("norm clip" if is_norm else "preconditioner", self._operand(1), True)
        if isinstance(a, Form):
            return self._held(a, (divisor,))
        if isinstance(a, Opaque):
            whole = a.is_norm and is_norm
            return replace(a, factors=(*a.factors, divisor), is_norm=whole)
        return Opaque(a, (divisor,), is_norm)

    def _sign(self, a: Value) -> Value:
        if not isinstance(a, Form):
            return self._opaque(a)
        return self._held(a, (Factor("sign", self._whole()),))

    def _min(self, *args: Value) -> Value:
        forms = [arg for arg in args if _is_tensor(arg)]
        if len(forms) == 1 and isinstance(forms[0], Form):
            return self._held(forms[0], (Factor("elementwise clip", self._whole()),))
        return self._opaque(*args)

    _max = _min

    def _norm(self, _: Value) -> Value:
        """One number for a whole tensor."""
        return Opaque(self._one, (Factor("norm factor", self._whole()),), is_norm=True)

    # ---------------------------------------------------------------- matrices

    def _polar(self, a: Value, *_: Value) -> Value:
        """A matrix P such that P a is the result, as 1/sqrt(v) is one for Adam: held fixed."""
        if not isinstance(a, Form):
            return self._opaque(a)
        return self._held(a, (Factor("orthogonaliser", self._whole()),))

    _block_polar = _polar

    def _matmul(self, a: Value, b: Value) -> Value:
        for i, (form, other) in enumerate(((a, b), (b, a))):
            if isinstance(form, Form) and isinstance(other, Opaque) and not other.is_product:
                factor = Factor("preconditioner", self._operand(1 - i))
                return self._scaled(self._held(form, (factor,)), "mul", other.coefficient)
            if isinstance(form, Form) and isinstance(other, Form) and not other.terms:
                return self._held(form, (Factor("preconditioner", self._operand(1 - i)),))
        whole = self._opaque(a, b)
        has_forms = isinstance(a, Form) and isinstance(b, Form)
        return replace(whole, is_product=True) if has_forms else whole

    def _transpose(self, a: Value) -> Value:
        """The same elements at other places."""
        return a

    def _where(self, condition: Value, a: Value, b: Value) -> Value:
        """A mask on a linear form, where it is 0 in the other case or the same."""
        if isinstance(a, Form) and isinstance(b, Form) and a == b:
            return a
        forms = [arg for arg in (a, b) if isinstance(arg, Form) and arg.terms]
        others = [arg for arg in (a, b) if not any(arg is form for form in forms)]
        if len(forms) == 1 and others == [self.scalars.number(Fraction(0))]:
            return self._held(forms[0], (Factor("elementwise factor", self._operand(0)),))
        return self._opaque(condition, a, b)

    _rows = _cols = _size = _sum = _mean = _largest = _smallest = _norm

    # ---------------------------------------------------------------- what they are made of

    def _whole(self) -> Expr:
        return ZERO if self.node is None else self.node

    def _operand(self, place: int) -> Expr:
        return ZERO if self.node is None else self.node.args[place]

    def _opaque(self, *args: Value) -> Opaque[C]:
        """Return what an operation without a linear part makes of its arguments."""
        is_norm = all(isinstance(a, Opaque) and a.is_norm for a in args if _is_tensor(a))
        kind: Kind = "norm factor" if is_norm else "elementwise factor"
        return Opaque(self._one, (Factor(kind, self._whole()),), is_norm)

    def _scaled(self, a: Value, op: str, *by: C) -> Value:
        """Apply a scalar operation to what a tensor is multiplied by."""
        if isinstance(a, Opaque):
            return replace(a, coefficient=self.scalars.apply(op, [a.coefficient, *by]))
        return Form({s: self.scalars.apply(op, [value, *by]) for s, value in a.terms.items()})

    def _held(self, a: Form[C], factors: Sequence[Factor]) -> Form[C]:
        self.gains += [Gain(f.kind, self.line, tuple(a.terms), f) for f in factors]
        for value in () if self.gain is None else map(self.gain, factors):
            a = self._scaled(a, "mul", value)
        return a


def _is_tensor(value: Value) -> bool:
    return isinstance(value, Form | Opaque)


# -------------------------------------------------------------------- running a program


class NotLinearError(ArithmeticError):
    """A step that moves the parameter by something that is no linear form in the gradients."""


@dataclass(frozen=True)
class LinearRun(Generic[C]):
    """What a program does with gradients that are told apart: source s is the one of step s.

    `moves[i]` is the change of the parameter in the i-th step that was run. Terms in the parameter
    itself (weight decay) are left out: the parameter counts as 0 on entry to every step. Only a
    program with a buffer that starts as a copy of the parameter is run with the parameter moving.
    """

    moves: tuple[Form[C], ...]
    gains: tuple[Gain, ...]


def run_linear(
    program: Program,
    domain: LinearDomain[C],
    steps: Sequence[int],
    inputs: Callable[[int], Mapping[str, C]],
    memory: Mapping[str, C] | None = None,
    assigned: Callable[[int, Name, Value], Value] | None = None,
    followed: Container[int] | None = None,
) -> LinearRun[C]:
    """Run the given steps, buffers empty before the first one.

    `inputs(t)` holds the hyperparameters and `t`, `T`, `lr0` of step t; `memory` what the scalar
    states hold before the first step, by default what they start at. `assigned(t, target, value)`
    returns what a line of step t is taken to be; `followed` are the steps whose gradients are not
    taken to be 0, by default all. Raises NotLinearError for a parameter that is no
    linear form.
    """
    scalars = domain.scalars
    one = scalars.number(Fraction(1))
    kept = dict(initial_memory(program, scalars) if memory is None else memory)
    buffers: dict[str, Value] = {}
    param: Value = Form({})
    follows_param = any(s.init == "param" for s in program.tensor_states)
    moves = []
    for i, t in enumerate(steps):
        grad: Value = Form({t: one} if followed is None or t in followed else {})
        if i == 0:
            first = grad if t == 1 else Form({})
            buffers = {
                s.name: first if s.init == "grad" else Form({}) for s in program.tensor_states
            }
        values: dict[Name, Value] = dict(run_scalars(program, scalars, inputs(t), kept))
        values[PARAM.prev], values[GRAD] = param, grad
        values |= {Name(name, "prev"): value for name, value in buffers.items()}
        linear_step(program, domain, values, None if assigned is None else partial(assigned, t))
        kept = {s.name: values[Name(s.name)] for s in program.scalar_states}
        buffers = {s.name: values[Name(s.name)] for s in program.tensor_states}
        move = domain.apply("sub", [values[PARAM], param])
        if not isinstance(move, Form):
            raise NotLinearError("the parameter is not a linear form in the gradients")
        moves.append(move)
        param = values[PARAM] if follows_param else param
    return LinearRun(tuple(moves), tuple(domain.gains))


def linear_step(
    program: Program,
    domain: LinearDomain[C],
    values: dict[Name, Value],
    assigned: Callable[[Name, Value], Value] | None = None,
) -> None:
    """Run the tensor block of one step on `values`, which holds scalars, buffers and sources.

    `assigned(target, value)` returns what a line is taken to be, for callers that give a line a
    source of its own.
    """
    for line in program.step:
        domain.line = line.target
        try:
            value = Form({}) if line.expr == ZERO else domain.read(line.expr, values)
        except NotRealError as error:  # of the coefficients' domain
            raise error.at(line, None) from None
        values[line.target] = value if assigned is None else assigned(line.target, value)
