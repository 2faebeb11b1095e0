"""Matrices of numbers of any kind: what the definition of the language computes with.

A tensor is the tuple of its elements, row by row, and knows its sides; a plain tuple is a column,
and a number a matrix of one element. Rows and columns of length 1 are repeated where another value
has more. Numbers are floats, fractions or decimals: `Rules` holds their arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

from optzoo.program.arithmetic import NotRationalError
from optzoo.program.ops import OPS, Kept
from optzoo.program.tensors.named_sides import Shape

Rule = Callable[..., Any]
Rules = Mapping[str, Rule]
Value = Any
"""A number, a column as a plain tuple, or a Matrix."""

MAX_SWEEPS = 60
"""Sweeps of Jacobi rotations; they converge quadratically, in ten or so."""

DEPENDENT = 64
"""A column beside the largest that is less than this many roundings says nothing new."""

UNIT_LEFT = 1e-3
"""Less than this left of a unit vector, and it says nothing new; some other always has more."""


class Matrix(tuple[Any, ...]):
    """The elements of a matrix, row by row."""

    rows: int
    cols: int

    def __new__(cls, elements: Sequence[Any], rows: int, cols: int) -> Matrix:
        """Return the matrix of rows x cols elements."""
        matrix = super().__new__(cls, elements)
        assert len(matrix) == rows * cols
        matrix.rows, matrix.cols = rows, cols
        return matrix


def sides(value: Value) -> tuple[int, int]:
    """Return the number of rows and columns of a value."""
    if isinstance(value, Matrix):
        return value.rows, value.cols
    return (len(value), 1) if isinstance(value, tuple) else (1, 1)


def home(shape: Shape, like: Value) -> tuple[int, int]:
    """Return the sides of a buffer of this shape beside a parameter `like`."""
    known = dict(zip(("rows", "cols"), sides(like), strict=True), **{"1": 1})
    return known[shape.rows], known[shape.cols]


def spread(value: Value, rows: int, cols: int) -> tuple[Any, ...]:
    """Return a value repeated to the given sides, as a tuple of its elements."""
    if sides(value) == (rows, cols) and isinstance(value, tuple):
        return value
    return _made([_at(value, i, j) for i, j in product(range(rows), range(cols))], rows, cols)


def _made(elements: Sequence[Any], rows: int, cols: int) -> tuple[Any, ...]:
    return tuple(elements) if cols == 1 else Matrix(elements, rows, cols)


def _at(value: Value, i: int, j: int) -> Any:
    if not isinstance(value, tuple):
        return value
    rows, cols = sides(value)
    return value[(i if rows > 1 else 0) * cols + (j if cols > 1 else 0)]


def _lines(value: Value) -> list[list[Any]]:
    """Return the rows of a value."""
    rows, cols = sides(value)
    return [[_at(value, i, j) for j in range(cols)] for i in range(rows)]


def _from_lines(lines: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return _made([x for line in lines for x in line], len(lines), len(lines[0]))


def elementwise(rule: Rule, args: Sequence[Value]) -> tuple[Any, ...]:
    """Apply a rule element by element; sides of 1 are repeated."""
    every = [sides(arg) for arg in args]
    rows = next((r for r, _ in every if r != 1), 1)
    cols = next((c for _, c in every if c != 1), 1)
    if any(r not in (1, rows) or c not in (1, cols) for r, c in every):
        raise ValueError(f"sides do not fit: {every}")
    columns = [spread(arg, rows, cols) for arg in args]
    return _made([rule(*numbers) for numbers in zip(*columns, strict=True)], rows, cols)


def apply_matrix(op: str, args: Sequence[Value], rules: Rules) -> Value:
    """Apply an operation that does not go element by element."""
    known = OPS[op]
    if known.reduces is not None:
        return _reduce(known.reduces, known.kept, args, rules)
    return _MATRIX_RULES[op](rules, *args)


# ------------------------------------------------------------------ reductions


def _reduce(name: str, kept: Kept, args: Sequence[Value], rules: Rules) -> Value:
    value = args[0]
    lines = _lines(value)
    match kept:
        case "whole":
            return _reduced(name, [x for line in lines for x in line], rules)
        case "row":
            return tuple(_reduced(name, line, rules) for line in lines)
        case "column":
            columns = list(zip(*lines, strict=True))
            found = [_reduced(name, column, rules) for column in columns]
            return Matrix(found, 1, len(columns))
    blocks = row_blocks(len(lines), float(args[1]))
    return tuple(
        _reduced(name, [x for line in lines[begin:end] for x in line], rules)
        for begin, end in blocks
        for _ in range(begin, end)
    )


def row_blocks(rows: int, count: float) -> list[tuple[int, int]]:
    """Return where each of `count` blocks of rows begins and ends.

    The blocks are as even as may be, and at most one for each row; `count` is rounded.
    """
    number = max(1, min(rows, round(count)))
    edges = [k * rows // number for k in range(number + 1)]
    return list(pairwise(edges))


def _reduced(name: str, numbers: Sequence[Any], rules: Rules) -> Any:
    match name:
        case "largest":
            return max(numbers)
        case "smallest":
            return min(numbers)
        case "norm":
            squares = [rules["square"](x) for x in numbers]
            return rules["sqrt"](_total(squares))
    total = _total(numbers)
    return total if name == "sum" else total / len(numbers)


def _total(numbers: Sequence[Any]) -> Any:
    return sum(numbers[1:], numbers[0]) if numbers else 0


# ------------------------------------------------------------------ products


def _matmul(_: Rules, a: Value, b: Value) -> Value:
    left, right = _lines(a), list(zip(*_lines(b), strict=True))
    return _from_lines(
        [[_total([x * y for x, y in zip(r, c, strict=True)]) for c in right] for r in left]
    )


def _transpose(_: Rules, a: Value) -> Value:
    return _from_lines(list(zip(*_lines(a), strict=True)))


def _polar(rules: Rules, a: Value, safety: Any, eps: Any, *coefficients: Any) -> Value:
    rows, cols = sides(a)
    if rows > cols:
        turned = _polar(rules, _transpose(rules, a), safety, eps, *coefficients)
        return spread(_transpose(rules, turned), rows, cols)
    divisor = safety * _reduce("norm", "whole", [a], rules) + eps
    x = elementwise(lambda value: rules["div"](value, divisor), [a])
    for k in range(0, len(coefficients), 3):
        first, third, fifth = coefficients[k : k + 3]
        gram = _matmul(rules, x, _transpose(rules, x))
        square = _matmul(rules, gram, gram)
        mixed = elementwise(lambda g, s, b=third, c=fifth: b * g + c * s, [gram, square])
        product_ = _matmul(rules, mixed, x)
        x = elementwise(lambda value, p, a=first: a * value + p, [x, product_])
    return spread(x, rows, cols)


def _block_polar(rules: Rules, a: Value, count: Any, *numbers: Any) -> Value:
    rows, cols = sides(a)
    whole = _lines(a)
    found = []
    for begin, end in row_blocks(rows, float(count)):
        part = _polar(rules, _from_lines(whole[begin:end]), *numbers)
        found += _lines(spread(part, end - begin, cols))
    return _from_lines(found)


def _identity(_: Rules, a: Value) -> Value:
    size, _cols = sides(a)
    one, zero = _units(a)
    return _from_lines([[one if i == j else zero for j in range(size)] for i in range(size)])


def _units(a: Value) -> tuple[Any, Any]:
    """Return 1 and 0 in the kind of number that a value is made of."""
    kind = type(_at(a, 0, 0))
    return kind(1), kind(0)


def _diagonal(_: Rules, a: Value) -> Value:
    return tuple(_at(a, i, i) for i in range(sides(a)[0]))


# ------------------------------------------------------------------ decompositions


def _orthonormal(rules: Rules, a: Value) -> Value:
    """Gram-Schmidt, each column twice, so that rounding leaves nothing of the others.

    A column that those before it span is put off. At the end its place is filled by what is left of
    the first unit vector that says something new; places beyond the number of rows become 0.
    """
    if not _is_finite(a):
        return _nowhere(a)
    columns = [list(column) for column in zip(*_lines(a), strict=True)]
    largest = max(rules["sqrt"](_dot(column, column)) for column in columns)
    found: dict[int, list[Any]] = {}
    for j, column in enumerate(columns):
        rest, left = _rest(column, list(found.values()), rules)
        if not rules["negligible"](left, largest):
            found[j] = [x / left for x in rest]
    one, zero = _units(a)
    size = len(columns[0])
    units = iter([one if i == k else zero for i in range(size)] for k in range(size))
    for j in (j for j in range(len(columns)) if j not in found):
        found[j] = _next_unit(units, list(found.values()), rules) or [zero] * size
    return _from_lines(list(zip(*(found[j] for j in range(len(columns))), strict=True)))


def _is_finite(a: Value) -> bool:
    return all(x - x == 0 for line in _lines(a) for x in line)


def _nowhere(a: Value) -> Value:
    """Return what a decomposition is of what is not finite: nothing that is a number."""
    return elementwise(lambda x: math.nan, [a])


def _next_unit(units: Iterator[list[Any]], basis: list[list[Any]], rules: Rules) -> list[Any]:
    for unit in units:
        rest, left = _rest(unit, basis, rules)
        if left > UNIT_LEFT:
            return [x / left for x in rest]
    return []


def _rest(column: list[Any], basis: list[list[Any]], rules: Rules) -> tuple[list[Any], Any]:
    """Return what a basis leaves of a column, and its length."""
    for _ in range(2):
        for other in basis:
            part = _dot(column, other)
            column = [x - part * y for x, y in zip(column, other, strict=True)]
    return column, rules["sqrt"](_dot(column, column))


def _dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return _total([x * y for x, y in zip(a, b, strict=True)])


def _eigen(rules: Rules, a: Value) -> tuple[list[Any], list[list[Any]]]:
    """Return eigenvalues, largest first, and eigenvectors as rows, by cyclic Jacobi rotations.

    Only the lower half counts. Equal values keep their order; the first element of an eigenvector
    that is more than `UNIT_LEFT` is above 0.
    """
    if "approximates" not in rules:
        raise NotRationalError("eigenbasis")
    size = sides(a)[0]
    m = [[_at(a, max(i, j), min(i, j)) for j in range(size)] for i in range(size)]
    one, zero = _units(a)
    v = [[one if i == j else zero for j in range(size)] for i in range(size)]
    for _ in range(MAX_SWEEPS):
        off = _total([m[i][j] * m[i][j] for i in range(size) for j in range(i)])
        whole = _total([x * x for line in m for x in line])
        if rules["approximates"](off, whole):
            break
        for p in range(size):
            for q in range(p + 1, size):
                _rotate(m, v, p, q, rules)
    ranked = sorted(range(size), key=lambda k: -m[k][k])
    vectors = [[v[i][k] for i in range(size)] for k in ranked]
    leading = [next(x for x in vector if abs(x) > UNIT_LEFT) for vector in vectors]
    signed = [
        [-x for x in vector] if first < 0 else vector
        for vector, first in zip(vectors, leading, strict=True)
    ]
    return [m[k][k] for k in ranked], signed


def _rotate(m: list[list[Any]], v: list[list[Any]], p: int, q: int, rules: Rules) -> None:
    """Turn the plane of p and q so that m[p][q] becomes 0."""
    if m[p][q] == 0:
        return
    theta = (m[q][q] - m[p][p]) / (2 * m[p][q])
    root = rules["sqrt"](theta * theta + 1)
    t = 1 / (theta + root) if theta >= 0 else -1 / (root - theta)
    c = 1 / rules["sqrt"](t * t + 1)
    s = t * c
    for k in range(len(m)):
        m[k][p], m[k][q] = c * m[k][p] - s * m[k][q], s * m[k][p] + c * m[k][q]
    for k in range(len(m)):
        m[p][k], m[q][k] = c * m[p][k] - s * m[q][k], s * m[p][k] + c * m[q][k]
    for k in range(len(m)):
        v[k][p], v[k][q] = c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]


def _eigenbasis(rules: Rules, a: Value) -> Value:
    """Vectors of a value that is 0 are nobody's choice: they are filled in as by `orthonormal`."""
    if not _is_finite(a):
        return _nowhere(a)
    values, vectors = _eigen(rules, a)
    kept = [
        [x * 0 for x in vector] if rules["negligible"](value, max(values)) else vector
        for value, vector in zip(values, vectors, strict=True)
    ]
    return _orthonormal(rules, _from_lines(list(zip(*kept, strict=True))))


def _power(rules: Rules, a: Value, exponent: Any) -> Value:
    """Eigenvalues at or below 0 are rounding, and their part is 0."""
    if not _is_finite(a):
        return _nowhere(a)
    values, vectors = _eigen(rules, a)
    raised = [rules["pow"](value, exponent) if value > 0 else value * 0 for value in values]
    size = range(len(values))
    return _from_lines(
        [
            [
                _total([vec[i] * x * vec[j] for x, vec in zip(raised, vectors, strict=True)])
                for j in size
            ]
            for i in size
        ]
    )


def _column(value: Value) -> tuple[Any, ...]:
    """Return the elements of a column; a number is one of one element."""
    return value if isinstance(value, tuple) else (value,)


def _order(_: Rules, a: Value) -> Value:
    one, _zero = _units(a)
    numbers = _column(a)
    ranked = sorted(range(len(numbers)), key=lambda k: -numbers[k])
    return tuple(one * k for k in ranked)


def _place(number: Any, count: int) -> int:
    """Return the nearest place that there is at or before a number; 0 for what is no number."""
    return int(min(number, count - 1)) if number > 0 else 0


def _row_take(_: Rules, a: Value, places: Value) -> Value:
    lines = _lines(a)
    return _from_lines([lines[_place(k, len(lines))] for k in _column(places)])


def _column_take(_: Rules, a: Value, places: Value) -> Value:
    count = sides(a)[1]
    return _from_lines([[line[_place(k, count)] for k in _column(places)] for line in _lines(a)])


def _count(axis: Callable[[int, int], int]) -> Rule:
    def rule(_: Rules, a: Value) -> Any:
        one, _zero = _units(a)
        return one * axis(*sides(a))

    return rule


_MATRIX_RULES: dict[str, Rule] = {
    "rows": _count(lambda rows, _: rows),
    "cols": _count(lambda _, cols: cols),
    "size": _count(lambda rows, cols: rows * cols),
    "matmul": _matmul,
    "transpose": _transpose,
    "polar": _polar,
    "block_polar": _block_polar,
    "identity": _identity,
    "diagonal": _diagonal,
    "orthonormal": _orthonormal,
    "eigenbasis": _eigenbasis,
    "power": _power,
    "order": _order,
    "row_take": _row_take,
    "column_take": _column_take,
}
