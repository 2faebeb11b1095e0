"""The lines of a program in the making: names, tensors as a recipe reads them, preconditioners."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, TypeGuard

from optzoo.program.check import Fault
from optzoo.program.expressions import (
    ONE,
    SIZES,
    Expr,
    Name,
    add,
    call,
    div,
    mul,
    names_in,
    num,
    one_minus,
    polar,
    substitute,
)
from optzoo.program.intervals import Interval
from optzoo.program.ir import GRAD, PARAM, Hyper, Init, Line, Loc, View
from optzoo.recipe.ordering import LoweringError
from optzoo.recipe.schema import RecipeSpec
from optzoo.recipe.sections import (
    PolarSpec,
    PreconditionerSpec,
    RmsSpec,
)

LR, T = Name("lr"), Name("t")
DEFAULT_EPS = "1e-7"
"""Added to the norm that `polar` divides by, where a list of coefficients has no name."""


class Lines:
    """What the sections of a recipe have been lowered to so far; `lower` conducts."""

    def __init__(self, spec: RecipeSpec, values: dict[str, Expr]) -> None:
        self.spec = spec
        self.values: dict[str, Expr] = {n: h.default for n, h in spec.hyperparameters.items()}
        self.values |= values
        self.hypers: list[Hyper] = []
        self.scalars: dict[Name, Line] = {}
        self.step: dict[Name, Line] = {}
        self.inits: dict[str, Init] = {}
        self.views: list[View] = []
        pre = spec.preconditioner
        self.pre = PreconditionerSpec(sign=True) if pre == "sign" else pre
        self.rms = self.pre.rms if isinstance(self.pre, PreconditionerSpec) else None
        self.taken = {*spec.hyperparameters, *spec.scalars, *spec.signals, *spec.buffers}
        self.taken |= {s.buffer for s in (self.rms, spec.averaging) if s is not None}
        self.taken |= {"direction", "moved"} if spec.version > 1 else set()
        self.grad: Name = GRAD
        self.begun: dict[Name, Name] = {}
        self.pooled: dict[Name, Line] = {}

    def fresh(self, name: str) -> Name:
        """Return a name nobody uses yet, as close to `name` as possible."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return Name(name)

    def add_scalar(
        self, name: str, expr: Expr, source: Loc, within: Interval | None = None
    ) -> Name:
        """Add a line of numbers; return its name."""
        target = Name(name)
        self.scalars[target] = Line(target, expr, source, within)
        return target

    def add_line(self, target: Name, expr: Expr, source: Loc) -> Name:
        """Add a line of tensors; return its name."""
        self.step[target] = Line(target, expr, source)
        return target

    def tensor(self, expr: Expr) -> Expr:
        """Read a recipe's tensor expression: `param` is the point on entry, `grad` as decayed."""

        def replace(name: Name) -> Expr | None:
            if name.id == "param":
                return PARAM.prev
            if name.id == "grad":
                return Name(self.grad.id, name.when)
            if name.id in SIZES and self.spec.version > 1:
                return call(name.id, PARAM.prev)
            return None

        return substitute(expr, replace)

    def is_fixed(self, expr: Expr) -> bool:
        """Whether an expression is made of numbers and plain hyperparameters other than lr."""
        fixed = {h.name for h in self.hypers} - {"lr"}
        return all(n.id in fixed and n.when != "prev" for n in names_in(expr))

    def is_scalar_now(self, expr: Expr) -> TypeGuard[Name]:
        """Whether an expression is this step's value of one of the recipe's scalars."""
        return isinstance(expr, Name) and expr.id in self.spec.scalars and expr.when == "now"

    def named(self, expr: Expr, name: str, source: Loc) -> Name:
        """Return a name for a tensor expression, adding a line unless it is one already."""
        if isinstance(expr, Name):
            return expr
        return self.add_line(self.fresh(name), expr, source)

    def clipped(
        self, expr: Expr, name: str, norm: Expr | None, value: Expr | None, source: Loc
    ) -> Expr:
        """Clip each tensor to an L2 norm, then each element to a magnitude."""
        if norm is not None:
            raw = self.named(expr, f"{name}_raw", source)
            expr = div(raw, call("max", ONE, div(call("norm", raw), norm)))
        if value is not None:
            expr = call("max", call("neg", value), call("min", value, expr))
        return expr

    def precondition(self, expr: Expr) -> Expr:
        """Apply the preconditioner to a tensor."""
        assert isinstance(self.pre, PreconditionerSpec)
        source: Loc = ("preconditioner",)
        if self.pre.polar is not None:
            result: Expr = self.orthogonalised(expr, self.pre.polar)
        elif self.rms is None:
            result = call("sign", expr)
        else:
            divisor = self.rms_divisor(self.rms)
            gate = self.rms.gate
            if gate is None:
                result = div(expr, divisor)
            else:
                raw = self.named(expr, "raw", source)
                result = add(mul(gate, div(raw, divisor)), mul(one_minus(gate), raw))
        return self.clipped(result, "preconditioned", None, self.pre.clip_value, source)

    def orthogonalised(self, expr: Expr, spec: PolarSpec) -> Expr:
        """Return the polar factor of a matrix, times its scale."""
        guard = spec.guard
        eps = spec.eps if spec.eps is not None else num(guard.eps if guard else DEFAULT_EPS)
        safety = num(guard.safety) if guard else ONE
        factor = polar(expr, spec.numbers, eps, safety, blocks=spec.blocks)
        return factor if spec.scale is None else mul(self.tensor(spec.scale), factor)

    def rms_divisor(self, rms: RmsSpec) -> Expr:
        """Return what `rms` divides by, adding its running mean."""
        source: Loc = ("preconditioner", "rms")
        buffer = Name(rms.buffer)
        squared = call("square", self.tensor(rms.of if rms.of is not None else GRAD))
        gain = rms.gain if rms.gain is not None else one_minus(rms.decay)
        self.add_line(buffer, add(mul(rms.decay, buffer.prev), mul(gain, squared)), source)
        self.inits[buffer.id] = init_value(rms.init)
        if rms.read == "prev" and rms.debias:
            message = "debiasing needs this step's value: with `read: prev` set `debias: false`"
            raise LoweringError([Fault("bad-value", message, (*source, "debias"))])
        scale = self.debias_scale(rms, source) if rms.debias else ONE
        mean: Expr = buffer if rms.read == "new" else buffer.prev
        if rms.eps_place == "before_debias":
            return mul(call("sqrt", scale), add(call("sqrt", mean), rms.eps))
        mean = mul(scale, mean)
        if rms.mix is not None:
            mean = add(mul(rms.mix, mean), mul(one_minus(rms.mix), squared))
        if rms.eps_place == "inside_sqrt":
            return call("sqrt", add(mean, rms.eps))
        if rms.eps_place == "max":
            return call("max", call("sqrt", mean), rms.eps)
        return add(call("sqrt", mean), rms.eps)

    def debias_scale(self, rms: RmsSpec, source: Loc) -> Name:
        """Return 1 over the mass that the running mean has gathered.

        For a fixed decay that is 1 - decay**t; for a scheduled one, 1 minus the running product.
        """
        if rms.gain is not None:
            mass = self.fresh(f"{rms.buffer}_mass")
            self.add_scalar(mass.id, add(mul(rms.decay, mass.prev), rms.gain), source)
            gathered: Expr = mass
        elif self.is_fixed(rms.decay):
            gathered = one_minus(call("pow", rms.decay, T))
        else:
            product = self.fresh(f"{rms.buffer}_left")
            self.add_scalar(product.id, mul(product.prev, rms.decay), source)
            self.inits[product.id] = Fraction(1)
            gathered = one_minus(product)
        scale = self.fresh(f"{rms.buffer}_debias")
        return self.add_scalar(scale.id, div(ONE, gathered), source)


def init_value(init: float | Literal["zeros", "grad", "param"]) -> Init:
    """Return what a buffer starts as in a program."""
    if isinstance(init, str):
        return Fraction(0) if init == "zeros" else init
    return Fraction(repr(float(init)))
