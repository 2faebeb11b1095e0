"""The linear interpreter: a tensor is a linear form in the gradients, with exact coefficients.

What is not linear is told apart, not approximated. An operation that multiplies a linear form by
something that depends on gradients (the division by a root of squares, a sign, a clip) is a
*gain*: the form passes through, times a number that `gain` supplies, 1 unless told otherwise. A
tensor that is no linear form at all (a running mean of squares) is `OPAQUE`.

The coefficients live in any scalar domain: rationals decide, symbols print. This file does not
choose them and knows no recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from optzoo.program.domain import Domain, evaluate, initial_memory, run_scalars
from optzoo.program.expressions import ZERO, Name
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.numbers import NotRealError

C = TypeVar("C")
Kind = Literal["preconditioner", "sign", "norm clip", "elementwise clip"]


@dataclass(frozen=True)
class Form(Generic[C]):
    """A sum of coefficients times sources. A source that is missing has the coefficient 0."""

    terms: Mapping[Hashable, C]

    def __getitem__(self, source: Hashable) -> C | None:
        return self.terms.get(source)


class _Opaque:
    """A tensor that is not a linear form."""

    def __repr__(self) -> str:
        return "OPAQUE"


OPAQUE = _Opaque()
Value = Any
"""A scalar of the coefficient domain, a Form, or OPAQUE."""


@dataclass(frozen=True)
class Gain:
    """A place where a linear form is multiplied by something held fixed."""

    kind: Kind
    line: Name
    sources: tuple[Hashable, ...]


@dataclass
class LinearDomain(Generic[C]):
    """Linear forms over a scalar domain; `gains` collects what was held fixed, line by line."""

    scalars: Domain[C]
    gain: Callable[[Kind, Name], C] | None = None
    line: Name = PARAM
    gains: list[Gain] = field(default_factory=list)

    def number(self, value: Fraction) -> Value:
        """Return a literal."""
        return self.scalars.number(value)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation to scalars, linear forms and opaque tensors."""
        if not any(_is_tensor(arg) for arg in args):
            return self.scalars.apply(op, args)
        rule = getattr(self, f"_{op}", None)
        return rule(*args) if rule is not None else OPAQUE

    # ---------------------------------------------------------------- rules

    def _add(self, a: Value, b: Value) -> Value:
        if not (isinstance(a, Form) and isinstance(b, Form)):
            return OPAQUE
        terms = dict(a.terms)
        for source, value in b.terms.items():
            terms[source] = (
                self.scalars.apply("add", [terms[source], value]) if source in terms else value
            )
        return Form(terms)

    def _neg(self, a: Value) -> Value:
        return self._each(a, lambda c: self.scalars.apply("neg", [c]))

    def _sub(self, a: Value, b: Value) -> Value:
        return self._add(a, self._neg(b))

    def _mul(self, a: Value, b: Value) -> Value:
        for form, other in ((a, b), (b, a)):
            if isinstance(form, Form) and not _is_tensor(other):
                return Form(
                    {s: self.scalars.apply("mul", [c, other]) for s, c in form.terms.items()}
                )
            if isinstance(form, Form) and other is OPAQUE:
                return self._held("preconditioner", form)
        return OPAQUE

    def _div(self, a: Value, b: Value) -> Value:
        if not isinstance(a, Form):
            return NORM if isinstance(a, _Norm) else OPAQUE
        if not _is_tensor(b):
            return self._each(a, lambda c: self.scalars.apply("div", [c, b]))
        return self._held("norm clip" if isinstance(b, _Norm) else "preconditioner", a)

    def _sign(self, a: Value) -> Value:
        return self._held("sign", a)

    def _norm(self, a: Value) -> Value:
        return NORM

    def _min(self, *args: Value) -> Value:
        forms = [arg for arg in args if _is_tensor(arg)]
        if len(forms) == 1 and isinstance(forms[0], Form):
            return self._held("elementwise clip", forms[0])
        return NORM if any(isinstance(form, _Norm) for form in forms) else OPAQUE

    _max = _min

    def _each(self, a: Value, function: Callable[[C], C]) -> Value:
        if not isinstance(a, Form):
            return a if isinstance(a, _Norm) else OPAQUE
        return Form({source: function(value) for source, value in a.terms.items()})

    def _held(self, kind: Kind, a: Value) -> Value:
        if not isinstance(a, Form):
            return OPAQUE
        self.gains.append(Gain(kind, self.line, tuple(a.terms)))
        if self.gain is None:
            return a
        factor = self.gain(kind, self.line)
        return self._each(a, lambda c: self.scalars.apply("mul", [c, factor]))


class _Norm(_Opaque):
    """An opaque value made from the norm of one tensor: dividing by it is a clip."""


NORM = _Norm()


def _is_tensor(value: Value) -> bool:
    return isinstance(value, Form | _Opaque)


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
) -> LinearRun[C]:
    """Run the given steps, buffers empty before the first one.

    `inputs(t)` holds the hyperparameters and `t`, `T`, `lr0` of step t; `memory` what the scalar
    states hold before the first step, by default what they start at. `assigned(t, target, value)`
    returns what a line of step t is taken to be. Raises NotLinearError for a parameter that is no
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
        grad: Value = Form({t: one})
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
            value = Form({}) if line.expr == ZERO else evaluate(line.expr, domain, values)
        except NotRealError as error:  # of the coefficients' domain
            raise error.at(line, None) from None
        values[line.target] = value if assigned is None else assigned(line.target, value)
