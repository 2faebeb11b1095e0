"""The operations of the expression language: arity, the sorts they take, and their scope.

This table is the whole instruction set. A new primitive is one row here and one rule in each
interpreter. It holds no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Scope(IntEnum):
    """How much of a parameter an operation must see at once, from least to most.

    `ELEMENTWISE` is correct on any shard or flattened view. `TENSOR` reduces over one whole
    parameter tensor: on a shard it needs a collective. `MATRIX` needs the 2-D tensor in one place.
    """

    ELEMENTWISE = 0
    TENSOR = 1
    MATRIX = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Op:
    """One operation. `max_args` is None when any number of arguments is allowed."""

    name: str
    min_args: int
    max_args: int | None
    doc: str
    on_scalars: bool = True
    on_tensors: bool = True
    scope: Scope = Scope.ELEMENTWISE
    symbol: str | None = None


def _table(*ops: Op) -> dict[str, Op]:
    return {op.name: op for op in ops}


OPS: dict[str, Op] = _table(
    Op("add", 2, 2, "a + b", symbol="+"),
    Op("sub", 2, 2, "a - b", symbol="-"),
    Op("mul", 2, 2, "a * b", symbol="*"),
    Op("div", 2, 2, "a / b; b must not be able to be 0", symbol="/"),
    Op("neg", 1, 1, "-a", symbol="-"),
    Op("pow", 2, 2, "a ** b", on_tensors=False, symbol="**"),
    Op("square", 1, 1, "a * a"),
    Op("sqrt", 1, 1, "square root"),
    Op("abs", 1, 1, "absolute value"),
    Op("sign", 1, 1, "-1, 0 or 1"),
    Op("min", 2, None, "smallest argument"),
    Op("max", 2, None, "largest argument"),
    Op("exp", 1, 1, "e to the a", on_tensors=False),
    Op("log", 1, 1, "natural logarithm", on_tensors=False),
    Op("cospi", 1, 1, "cosine of pi times a", on_tensors=False),
    Op("ratio", 2, 2, "a / b, and 0 where b is 0", on_tensors=False),
    Op("positive", 1, 1, "1 where a > 0, else 0", on_tensors=False),
    Op(
        "half_life",
        3,
        3,
        "half_life(a, b, x): the decay whose half-life lies the fraction x of the way from that "
        "of a to that of b: 1/log = (1 - x)/log(a) + x/log(b); a = 0 is half-life 0",
        on_tensors=False,
    ),
    Op(
        "norm",
        1,
        1,
        "L2 norm of one parameter tensor",
        on_scalars=False,
        scope=Scope.TENSOR,
    ),
)

FUNCTIONS: dict[str, Op] = {name: op for name, op in OPS.items() if op.symbol is None}
