"""Scalars with memory over many steps at once, in numpy's long double.

The counterpart of `optzoo.description.scalars` for recurrences that cannot be jumped to. Long
double has 64 bits of mantissa on x86-64 and 113 on Linux for ARM, which keeps a million steps well
within 1e-12; where it is only a double (Windows, macOS on ARM) expect about 1e-10. numpy is
imported here and nowhere above, so that a table without such scalars never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from optzoo.description.affine import affine_parts, running_max_of
from optzoo.program.arithmetic import PI
from optzoo.program.domain import evaluate
from optzoo.program.expressions import ONE, ZERO, Expr, Name, names_in

if TYPE_CHECKING:
    from optzoo.description.scalars import ScalarTable

CHUNK = 1 << 16
KEPT_CHUNKS = 8

Array = Any
"""A numpy array of long doubles, one element per step of a chunk; or one long double."""


class CannotFold(Exception):  # noqa: N818
    """A recurrence that is neither linear in its previous value nor a maximum."""


def long(value: Decimal) -> Array:
    """Return the nearest long double."""
    return np.longdouble(str(value))


def _half_life(start: Array, end: Array, fraction: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(start > 0, (1 - fraction) / np.log(start), 0)
        inverse = inverse + np.where(end > 0, fraction / np.log(end), 0)
        value = np.where(inverse != 0, np.exp(1 / inverse), 0)
    return np.where(fraction <= 0, start, np.where(fraction >= 1, end, value))


def _ratio(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0, a / b, 0)


def _pow(base: Array, exponent: Array) -> Array:
    if np.ndim(exponent) == 0 and exponent in (1, 2):
        return base if exponent == 1 else base * base
    if np.ndim(base) == 0 and base > 0:
        return np.exp(exponent * np.log(base))
    return np.power(base, exponent)


def _least(*args: Array) -> Array:
    return args[0] if len(args) == 1 else np.minimum(args[0], _least(*args[1:]))


def _largest(*args: Array) -> Array:
    return args[0] if len(args) == 1 else np.maximum(args[0], _largest(*args[1:]))


_RULES: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "pow": _pow,
    "square": np.square,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "min": _least,
    "max": _largest,
    "exp": np.exp,
    "log": np.log,
    "cospi": lambda a: np.cos(long(PI) * a),
    "ratio": _ratio,
    "positive": lambda a: np.where(a > 0, np.longdouble(1), np.longdouble(0)),
    "half_life": _half_life,
}


class ArrayDomain:
    """Scalars as arrays over steps, in long double."""

    def number(self, value: Fraction) -> Array:
        """Return a long double, rounded once from the quotient."""
        return np.longdouble(str(value.numerator)) / np.longdouble(str(value.denominator))

    def apply(self, op: str, args: Sequence[Array]) -> Array:
        """Apply a scalar operation element by element."""
        return _RULES[op](*args)


class Folding:
    """The scalars of a program chunk by chunk; chunks are computed in order, and few are kept."""

    def __init__(self, table: ScalarTable) -> None:
        self.table = table
        self.fixed: dict[Name, Array] = {name: long(v) for name, v in table.fixed.items()}
        running = [name for name in table.lines if table.reaches(name, name.prev)]
        carried = {
            state
            for state in map(Name, table.inits)
            if state in running or any(table.reaches(name, state.prev) for name in running)
        }
        self.starts = [{name: long(table.inits[name.id]) for name in carried}]
        self.chunks: dict[int, _Chunk] = {}

    def value(self, name: Name, t: int) -> Decimal:
        """Return a scalar at step t. Raises CannotFold for recurrences of another kind."""
        wanted, place = divmod(t - 1, CHUNK)
        with np.errstate(all="ignore"):  # whoever asks for a value sees that it is none
            for k in range(len(self.starts) - 1, wanted + 1):
                chunk = self._chunk(k)
                self.starts.append({n: chunk.array(n)[-1] for n in self.starts[0]})
            return Decimal(str(self._chunk(wanted).array(name)[place]))

    def values(self, name: Name, low: int, high: int) -> Array:
        """Return a scalar at the steps from `low` to `high`; the value of step 1 before it."""
        steps = np.maximum(np.arange(low, high + 1), 1) - 1
        for k in range(len(self.starts) - 1, int(steps[-1]) // CHUNK):
            self.value(next(iter(self.starts[0]), Name("t")), (k + 1) * CHUNK)
        with np.errstate(all="ignore"):
            parts = [
                self._chunk(int(k)).array(name)[steps[steps // CHUNK == k] % CHUNK]
                for k in np.unique(steps // CHUNK)
            ]
        return np.concatenate(parts)

    def _chunk(self, k: int) -> _Chunk:
        if k not in self.chunks:
            while len(self.chunks) >= KEPT_CHUNKS:
                del self.chunks[next(iter(self.chunks))]
            self.chunks[k] = _Chunk(self.table, self.fixed, self.starts[k], k * CHUNK)
        return self.chunks[k]


class _Chunk:
    """The scalars of `CHUNK` steps after step `offset`, computed when they are asked for."""

    def __init__(
        self, table: ScalarTable, fixed: dict[Name, Array], start: dict[Name, Array], offset: int
    ) -> None:
        self.table, self.start = table, start
        self.domain = ArrayDomain()
        steps = np.arange(offset + 1, offset + CHUNK + 1, dtype=np.longdouble)
        self.known = {**fixed, Name("t"): steps}
        self.pending: set[Name] = set()

    def array(self, name: Name) -> Array:
        """Return the values of a scalar, one per step."""
        if name not in self.known:
            if name in self.pending:
                raise CannotFold(name)
            self.pending.add(name)
            self.known[name] = self._computed(name)
        return np.broadcast_to(self.known[name], (CHUNK,))

    def _computed(self, name: Name) -> Array:
        if name.when == "prev":
            now = Name(name.id)
            if now not in self.start:
                raise CannotFold(name)
            return np.concatenate([[self.start[now]], self.array(now)[:-1]])
        if name.id == "lr":
            return long(self.table.base_lr) * self._evaluated(self.table.lr_factor)
        expr = self.table.lines[name]
        if name.prev not in names_in(expr):
            return self._evaluated(expr)
        return self._solved(expr, name)

    def _evaluated(self, expr: Expr) -> Array:
        for name in names_in(expr):
            self.array(name)
        return evaluate(expr, self.domain, self.known)

    def _solved(self, expr: Expr, name: Name) -> Array:
        start = self.start[name]
        largest = running_max_of(expr, name)
        if largest is not None:
            array = np.broadcast_to(self._evaluated(largest), (CHUNK,))
            return np.maximum(np.maximum.accumulate(array), start)
        parts = affine_parts(expr, name.prev)
        if parts is None:
            raise CannotFold(name)
        if parts[1] == ZERO and start == 0:
            return start
        a, c = (np.broadcast_to(self._evaluated(part), (CHUNK,)) for part in parts)
        if parts[0] == ONE:
            return start + np.cumsum(c)
        if parts[1] == ZERO:
            return start * np.cumprod(a)
        return scan(a, c, start)


def scan(a: Array, c: Array, start: Array) -> Array:
    """Return x_i = a_i x_{i-1} + c_i: maps are composed with those 1, 2, 4, ... places before."""
    a, c = np.array(a), np.array(c)
    c[0] += a[0] * start
    a[0] = 0
    reach = 1
    while reach < len(a):
        c[reach:] = a[reach:] * c[:-reach] + c[reach:]
        a[reach:] = a[reach:] * a[:-reach]
        reach *= 2
    return c
