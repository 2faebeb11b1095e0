"""Scalars with memory over many steps at once, in numpy's long double.

The counterpart of `optzoo.description.scalars` for recurrences that cannot be jumped to. Long
double has 64 bits of mantissa on x86-64 and 113 on Linux for ARM, which keeps a million steps well
within 1e-12; where it is only a double (Windows, macOS on ARM) expect about 1e-10. numpy is
imported here and nowhere above, so that a table without such scalars never pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from optzoo.description.recurrences import affine_parts, reaches, running_max_of
from optzoo.interpreters.arrays import ArrayDomain, long
from optzoo.program.domain import evaluate
from optzoo.program.expressions import ONE, ZERO, Expr, Name, names_in

CHUNK = 1 << 16
KEPT_CHUNKS = 8

Array = Any
"""A numpy array of long doubles, one element per step of a chunk; or one long double."""


class CannotFoldError(Exception):
    """A recurrence that is neither linear in its previous value nor a maximum."""


@dataclass(frozen=True)
class Given:
    """What scalars follow from: their lines, what is the same in every step, where states start.

    The learning rate of a step is `base_lr` times `lr_factor`, an expression in `t` and `T`.
    """

    lines: Mapping[Name, Expr]
    fixed: Mapping[Name, Decimal]
    inits: Mapping[str, Decimal]
    base_lr: Decimal
    lr_factor: Expr


class Folding:
    """The scalars of a program chunk by chunk; chunks are computed in order, and few are kept."""

    def __init__(self, given: Given) -> None:
        self.given, lines = given, given.lines
        self.fixed: dict[Name, Array] = {name: long(v) for name, v in given.fixed.items()}
        running = [name for name in lines if reaches(lines, name, name.prev)]
        carried = {
            state
            for state in map(Name, given.inits)
            if state in running or any(reaches(lines, name, state.prev) for name in running)
        }
        self.starts = [{name: long(given.inits[name.id]) for name in carried}]
        self.chunks: dict[int, _Chunk] = {}

    def value(self, name: Name, t: int) -> Decimal:
        """Return a scalar at step t. Raises CannotFoldError for recurrences of another kind."""
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
            self.chunks[k] = _Chunk(self.given, self.fixed, self.starts[k], k * CHUNK)
        return self.chunks[k]


class _Chunk:
    """The scalars of `CHUNK` steps after step `offset`, computed when they are asked for."""

    def __init__(
        self, given: Given, fixed: dict[Name, Array], start: dict[Name, Array], offset: int
    ) -> None:
        self.given, self.start = given, start
        self.domain = ArrayDomain()
        steps = np.arange(offset + 1, offset + CHUNK + 1, dtype=np.longdouble)
        self.known = {**fixed, Name("t"): steps}
        self.pending: set[Name] = set()

    def array(self, name: Name) -> Array:
        """Return the values of a scalar, one per step."""
        if name not in self.known:
            if name in self.pending:
                raise CannotFoldError(name)
            self.pending.add(name)
            self.known[name] = self._computed(name)
        return np.broadcast_to(self.known[name], (CHUNK,))

    def _computed(self, name: Name) -> Array:
        if name.when == "prev":
            now = Name(name.id)
            if now not in self.start:
                raise CannotFoldError(name)
            return np.concatenate([[self.start[now]], self.array(now)[:-1]])
        if name.id == "lr":
            return long(self.given.base_lr) * self._evaluated(self.given.lr_factor)
        expr = self.given.lines[name]
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
            raise CannotFoldError(name)
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
