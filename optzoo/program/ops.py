"""The operations of the expression language: arity, the sorts they take, and their scope.

This table is the whole instruction set. A new primitive is one row here and one rule in each
interpreter. It holds no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Literal


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


Kept = Literal["whole", "row", "column", "block"]


@dataclass(frozen=True)
class Op:
    """One operation. `max_args` is None when any number of arguments is allowed.

    `since` is the version of the language that has it, `tensors_since` the one that has it on
    tensors. `kept` is what keeps a value of its own in a reduction: nothing, a row, a column.
    """

    name: str
    min_args: int
    max_args: int | None
    doc: str
    on_scalars: bool = True
    on_tensors: bool = True
    scope: Scope = Scope.ELEMENTWISE
    symbol: str | None = None
    since: int = 1
    tensors_since: int = 1
    reduces: str | None = None
    kept: Kept = "whole"

    @property
    def text(self) -> str:
        """What people call it."""
        return self.symbol or self.reduces or self.name


REDUCTIONS = {
    "sum": "sum of the elements",
    "mean": "mean of the elements",
    "norm": "L2 norm",
    "largest": "largest element",
    "smallest": "smallest element",
}
"""What a reduction makes of the elements of a tensor, or of each row, column or block of rows."""


def _reductions() -> list[Op]:
    """Return `sum`, `row_sum`, `column_sum`, `block_sum` and so on."""
    found = []
    for name, doc in REDUCTIONS.items():
        whole = Op(
            name,
            1,
            1,
            f"{doc} of one parameter tensor",
            on_scalars=False,
            scope=Scope.TENSOR,
            since=1 if name == "norm" else 2,
            reduces=name,
        )
        part = replace(whole, scope=Scope.MATRIX, since=2)
        row = replace(part, name=f"row_{name}", doc=f"{doc} of each row", kept="row")
        column = replace(part, name=f"column_{name}", doc=f"{doc} of each column", kept="column")
        doc = f"{doc} of each of n blocks of rows, repeated for its rows"
        block = replace(part, name=f"block_{name}", min_args=2, max_args=2, doc=doc, kept="block")
        found += [whole, row, column, block]
    return found


def _table(*ops: Op) -> dict[str, Op]:
    return {op.name: op for op in ops}


_MATRIX: dict[str, Any] = {"on_scalars": False, "scope": Scope.MATRIX, "since": 2}

OPS: dict[str, Op] = _table(
    Op("add", 2, 2, "a + b", symbol="+"),
    Op("sub", 2, 2, "a - b", symbol="-"),
    Op("mul", 2, 2, "a * b", symbol="*"),
    Op("div", 2, 2, "a / b; b must not be able to be 0", symbol="/"),
    Op("neg", 1, 1, "-a", symbol="-"),
    Op("pow", 2, 2, "a ** b", symbol="**", tensors_since=2),
    Op("square", 1, 1, "a * a"),
    Op("sqrt", 1, 1, "square root"),
    Op("abs", 1, 1, "absolute value"),
    Op("sign", 1, 1, "-1, 0 or 1"),
    Op("min", 2, None, "smallest argument; of one tensor, `smallest(x)`"),
    Op("max", 2, None, "largest argument; of one tensor, `largest(x)`"),
    Op("exp", 1, 1, "e to the a", tensors_since=2),
    Op("log", 1, 1, "natural logarithm", tensors_since=2),
    Op("cospi", 1, 1, "cosine of pi times a", on_tensors=False),
    Op("ratio", 2, 2, "a / b, and 0 where b is 0", tensors_since=2),
    Op("positive", 1, 1, "1 where a > 0, else 0", tensors_since=2),
    Op("tanh", 1, 1, "hyperbolic tangent", since=2),
    Op(
        "atan2",
        2,
        2,
        "atan2(a, b): angle of the point (b, a), in (-pi, pi]; 0 at the origin",
        since=2,
    ),
    Op("mod", 2, 2, "what is left of a after whole multiples of b", on_tensors=False, since=2),
    Op("less", 2, 2, "1 where a < b, else 0", symbol="<", since=2),
    Op("greater", 2, 2, "1 where a > b, else 0", symbol=">", since=2),
    Op("equal", 2, 2, "1 where a == b, else 0", symbol="==", since=2),
    Op("where", 3, 3, "where(a, b, c): b where a is not 0, else c", since=2),
    Op(
        "half_life",
        3,
        3,
        "half_life(a, b, x): the decay whose half-life lies the fraction x of the way from that "
        "of a to that of b: 1/log = (1 - x)/log(a) + x/log(b); a = 0 is half-life 0",
        on_tensors=False,
    ),
    *_reductions(),
    Op(
        "model_sum",
        1,
        1,
        "sum over the elements of all parameters",
        on_scalars=False,
        scope=Scope.TENSOR,
        since=2,
    ),
    Op("rows", 1, 1, "number of rows", on_scalars=False, scope=Scope.MATRIX, since=2),
    Op("cols", 1, 1, "number of columns", on_scalars=False, scope=Scope.MATRIX, since=2),
    Op("size", 1, 1, "number of elements", on_scalars=False, scope=Scope.TENSOR, since=2),
    Op("matmul", 2, 2, "matrix product", **_MATRIX, symbol="@"),
    Op("transpose", 1, 1, "rows and columns exchanged", **_MATRIX, symbol=".T"),
    Op("identity", 1, 1, "identity matrix of the same sides", **_MATRIX),
    Op("diagonal", 1, 1, "diagonal of a square matrix, as a column", **_MATRIX),
    Op(
        "polar",
        6,
        None,
        "polar factor by Newton-Schulz steps: a, the factor and eps of its norm, then three "
        "coefficients a step",
        **_MATRIX,
    ),
    Op(
        "block_polar",
        7,
        None,
        "polar factor of each of n blocks of rows: a, n, then as for `polar`",
        **_MATRIX,
    ),
    Op(
        "orthonormal",
        1,
        1,
        "Q of a QR decomposition whose R has a positive diagonal; a column that those before it "
        "span gives way to a unit vector",
        **_MATRIX,
    ),
    Op("eigenbasis", 1, 1, "eigenvectors of a symmetric matrix, largest value first", **_MATRIX),
    Op("power", 2, 2, "power of a symmetric matrix without eigenvalues below 0", **_MATRIX),
    Op("order", 1, 1, "places of the elements of a column, largest first", **_MATRIX),
    Op("row_take", 2, 2, "the rows of a at the places b", **_MATRIX),
    Op("column_take", 2, 2, "the columns of a at the places b", **_MATRIX),
)

_SPELLED = frozenset(
    ["rows", "cols", "size", "row_take", "column_take", "model_sum", "block_polar"]
)
"""Operations that the language writes in another way than by their names."""

FUNCTIONS: dict[str, Op] = {
    name: op
    for name, op in OPS.items()
    if op.symbol is None and op.kept == "whole" and name not in _SPELLED
} | {
    "dot": Op("dot", 2, 2, "sum of the products of the elements", on_scalars=False, since=2),
    "take": Op(
        "take",
        3,
        3,
        "take(a, places, row | column): rows or columns at places",
        on_scalars=False,
        since=2,
    ),
}
"""What expressions may call; see `optzoo.program.expressions` for how the rest is written."""
