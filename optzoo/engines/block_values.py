"""Arithmetic on blocks of tensors, in as few torch calls as a plain walk allows.

An expression is a tree, so what an operation returns is read once, by the operation above it, and
may be overwritten there; what a *name* holds may be read again, and is not. Those are the two kinds
of tensors here: a `Term` belongs to whoever holds it, a bare tensor to a name. A term is also left
unfinished for as long as its parent may take it in one call: `c*x`, `c*x*y` and `c*x/y`
wait for the sum that they are part of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from optzoo.engines.elementwise import NEWER
from optzoo.program.arithmetic import FLOAT


@dataclass
class Term:
    """`factor` times `left`, times or over `right`; and a tensor that may be overwritten, if any.

    With factor 1 and no `right` it is `left` itself.
    """

    left: Tensor
    factor: float = 1.0
    right: Tensor | None = None
    is_quotient: bool = False
    spare: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether this is a tensor that somebody computed already."""
        return self.right is None and self.factor == 1.0

    def tensor(self) -> Tensor:
        """Return the value as one tensor; nobody may read this term afterwards."""
        if self.right is None:
            if self.factor == 1.0:
                return self.left
            return torch.mul(self.left, self.factor, out=self.spare)
        function = torch.div if self.is_quotient else torch.mul
        out = _room(self.spare, self.left, self.right)
        result = function(self.left, self.right, out=out)
        return result if self.factor == 1.0 else result.mul_(self.factor)

    def added_to(self, other: Term, sign: float) -> Term:
        """Return `other + sign*self` in one call; `other` is plain."""
        value, more = sign * self.factor, (self.left, self.right)
        out = _room(other.spare, other.left, *(t for t in more if t is not None))
        if self.right is None:
            return _owned(torch.add(other.left, self.left, alpha=value, out=out))
        function = torch.addcdiv if self.is_quotient else torch.addcmul
        return _owned(function(other.left, self.left, self.right, value=value, out=out))


Operand = float | Tensor | Term
Rule = Callable[..., Term]


def settled(value: Operand) -> float | Tensor:
    """Return a value for a name to hold; no two names share a tensor."""
    if not isinstance(value, Tensor | Term):
        return value
    term = _term(value)
    result = term.tensor()
    return result.clone() if result is term.left and term.spare is None else result


def handed_over(value: float | Tensor) -> Operand:
    """Return what a name holds as a value that may be overwritten: nobody reads the name again."""
    return _owned(value) if isinstance(value, Tensor) else value


def _room(spare: Tensor | None, *tensors: Tensor) -> Tensor | None:
    """Return memory that may be overwritten where a result of these fits: a row has too little."""
    if spare is None or all(tensor.shape == spare.shape for tensor in tensors):
        return spare
    sides = zip(spare.shape, *(tensor.shape for tensor in tensors), strict=True)
    return spare if all(max(side) == side[0] for side in sides) else None


def _owned(tensor: Tensor) -> Term:
    return Term(tensor, spare=tensor)


def _term(value: Tensor | Term) -> Term:
    return value if isinstance(value, Term) else Term(value)


def _plain(value: Tensor | Term) -> Term:
    term = _term(value)
    return term if term.is_plain else _owned(term.tensor())


def _add(a: Operand, b: Operand, sign: float = 1.0) -> Term:
    """Return `a + sign*b`."""
    if not isinstance(b, Tensor | Term):
        x = _plain(_is_tensor(a))
        return _owned(torch.add(x.left, sign * b, out=x.spare))
    if not isinstance(a, Tensor | Term):
        y = _term(b)
        y.factor *= sign
        y = _plain(y)
        return _owned(torch.add(y.left, a, out=y.spare))
    x, y = _term(a), _term(b)
    if sign == 1.0 and y.is_plain and not x.is_plain:
        x, y = y, x
    x = _plain(x)
    if x.spare is None and y.is_plain and y.spare is not None:
        out = _room(y.spare, x.left)
        return _owned(torch.add(x.left, y.left, alpha=sign, out=out))
    return y.added_to(x, sign)


def _mul(a: Operand, b: Operand) -> Term:
    if not isinstance(a, Tensor | Term):
        a, b = b, a
    x = _term(_is_tensor(a))
    if not isinstance(b, Tensor | Term):
        x.factor *= b
        return x
    return _combined(x, _term(b), is_quotient=False)


def _div(a: Operand, b: Operand) -> Term:
    if not isinstance(b, Tensor | Term):
        x = _plain(_is_tensor(a))
        return _owned(torch.div(x.left, b, out=x.spare))
    if not isinstance(a, Tensor | Term):
        y = _plain(b)
        # as a tensor: `number / tensor` would round a reciprocal first
        return _owned(torch.div(torch.tensor(a, dtype=y.left.dtype), y.left, out=y.spare))
    return _combined(_term(a), _term(b), is_quotient=True)


def _combined(x: Term, y: Term, *, is_quotient: bool) -> Term:
    """Return a product or quotient of two tensors, its factor in front."""
    factor = 1.0
    if x.right is None:
        x, factor = Term(x.left, spare=x.spare), x.factor
    x, y = _plain(x), _plain(y)
    spare = x.spare if x.spare is not None else y.spare
    return Term(x.left, factor, y.left, is_quotient, spare)


def _unary(function: Callable[..., Tensor]) -> Rule:
    def apply(a: Tensor | Term) -> Term:
        x = _plain(a)
        return _owned(function(x.left, out=x.spare))

    return apply


def _square(a: Tensor | Term) -> Term:
    x = _plain(a)
    return Term(x.left, right=x.left, spare=x.spare)


def _bound(with_number: Callable[..., Tensor], with_tensor: Callable[..., Tensor]) -> Rule:
    def apply(*args: Operand) -> Term:
        tensors = [_plain(arg) for arg in args if isinstance(arg, Tensor | Term)]
        result = tensors[0]
        for other in tensors[1:]:
            out = _room(result.spare, other.left)
            result = _owned(with_tensor(result.left, other.left, out=out))
        for number in args:
            if not isinstance(number, Tensor | Term):
                result = _owned(with_number(result.left, number, out=result.spare))
        return result

    return apply


def _new(rule: Callable[..., Tensor]) -> Rule:
    """Return a rule whose result is a tensor of its own."""

    def apply(*args: Operand) -> Term:
        values = [_plain(arg).left if isinstance(arg, Tensor | Term) else arg for arg in args]
        return _owned(rule(*values))

    return apply


def _is_tensor(value: Operand) -> Tensor | Term:
    assert isinstance(value, Tensor | Term)
    return value


def _neg(a: Tensor | Term) -> Term:
    return _mul(a, -1.0)


_RULES: dict[str, Rule] = {
    "add": _add,
    "sub": lambda a, b: _add(a, b, -1.0),
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "square": _square,
    "sqrt": _unary(torch.sqrt),
    "abs": _unary(torch.abs),
    "sign": _unary(torch.sign),
    "min": _bound(torch.clamp_max, torch.minimum),
    "max": _bound(torch.clamp_min, torch.maximum),
    **{op: _new(rule) for op, rule in NEWER.items()},
}


class BlockDomain:
    """Floats, the tensors that names hold, and terms; tensors are of one size and dtype."""

    def number(self, value: Fraction) -> Operand:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[Operand]) -> Operand:
        """Apply an operation to numbers on the host, or to tensors and numbers."""
        if any(isinstance(arg, Tensor | Term) for arg in args):
            return _RULES[op](*args)
        return FLOAT[op](*args)
