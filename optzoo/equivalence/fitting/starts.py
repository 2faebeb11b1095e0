"""Where the descents of a fit begin: a grid over values that the left recipe has.

The learning rate is not on the grid: in every point of it the best one is computed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optzoo.equivalence.fitting.batch import Array
from optzoo.equivalence.fitting.descent import rms

if TYPE_CHECKING:
    from optzoo.equivalence.fitting.fit import Fit

MAX_GRID = 1500
DRAWN = 5
"""One point in so many is drawn from all combinations."""
STARTS = 16
SIZES = (1.0, 0.1, 10.0, 100.0)
"""What an unknown without a bound is, in units of its default."""
MOST_VALUES = 9
"""Values of one unknown on the grid."""


class Starts:
    """The starts of one fit."""

    def __init__(
        self, fit: Fit, names: Sequence[str], held: Mapping[str, float], with_gains: bool
    ) -> None:
        self.fit, self.names, self.held, self.with_gains = fit, names, held, with_gains

    def best(self, most: int = STARTS, points: int = MAX_GRID) -> Array:
        """Return the `most` best points of the grid, of shape (starts, unknowns), no two alike.

        The best of every decay is among them, however bad it is: what is near in the weights of the
        last gradients may be far in the decay.
        """
        options = [self._values(name) for name in self.names]
        groups = list(self._same_decays([o[0] for o in options]))
        rows = [*itertools.chain(*groups), *_grid(options, points)]
        grid = np.asarray(rows, dtype=np.float64).reshape(-1, len(self.names))
        grid = self._with_best_lr(grid)
        errors = rms(self.fit.residual(self.names, grid, self.with_gains))
        chosen, begin = [], 0
        for group in groups:
            chosen.append(begin + int(np.argmin(errors[begin : begin + len(group)])))
            begin += len(group)
        seen = {float(errors[i]) for i in chosen}
        for i in np.argsort(errors, kind="stable"):
            if float(errors[i]) not in seen:
                seen.add(float(errors[i]))
                chosen.append(int(i))
            if len(chosen) >= most + len(groups):
                break
        return grid[chosen]

    def _with_best_lr(self, grid: Array) -> Array:
        """Return the grid with the learning rates, or gains, that fit best if all is linear."""
        fit, target = self.fit, self.fit.target
        index = self.names.index("lr") if "lr" in self.names else None
        if index is not None and "lr" in self.held:
            return grid
        extra = np.ones((len(grid), target.points.shape[3]))
        if index is None and not self.with_gains:
            return grid
        settings = {n: grid[:, i] for i, n in enumerate(self.names)}
        gains, base = (extra, float(target.lr)) if self.with_gains else (None, None)
        train, _ = fit.run(target.courses, settings, gains=gains, base_lr=base)
        start = target.courses.start[:, :, None, :]
        with np.errstate(all="ignore"):
            moves = (train - start) / target.scales[:, :, 0]
            wanted = (target.points[:, :, 0] - start) / target.scales[:, :, 0]
            factor = (moves * wanted).sum((0, 2, 3)) / np.square(moves).sum((0, 2, 3))
        factor = np.broadcast_to(
            np.where(np.isfinite(factor) & (factor > 0), factor, 1.0), len(grid)
        )
        if self.with_gains:
            return np.concatenate([grid, extra * factor[:, None]], axis=1)
        assert index is not None
        grid = grid.copy()
        grid[:, index] = fit.unknowns["lr"].inside(grid[:, index] * factor)
        return grid

    def _values(self, name: str) -> list[float]:
        """Return what an unknown may be: its namesake, its default, 0, 1, the left's numbers."""
        if name in self.held:
            return [self.held[name]]
        known, unknown = self.fit.target.known, self.fit.unknowns[name]
        if name == "lr":
            return [unknown.default or 1e-3]
        like = [float(known[name])] if name in known else []
        values = [*like, unknown.default, 0.0, 1.0, *map(float, known.values()), *self.fit.others]
        legal = [v for v in dict.fromkeys(values) if unknown.allows(v)]
        if unknown.is_decay and len(legal) < MOST_VALUES:
            legal += [v for v in (0.5, 0.9, 0.99, 0.999) if v not in legal and unknown.allows(v)]
        return legal[:MOST_VALUES]

    def _same_decays(self, first: Sequence[float]) -> Iterator[list[tuple[float, ...]]]:
        """Yield groups where all decays without a namesake are one decay of the left recipe.

        In a group one of the unknowns without a bound takes several sizes.
        """
        known = self.fit.target.known
        free = [n not in self.held for n in self.names]
        decays = [self.fit.unknowns[n].is_decay and not known.get(n) for n in self.names]
        open_ = [d and f for d, f in zip(decays, free, strict=True)]
        numbers = {v for v in [*map(float, known.values()), *self.fit.others] if 0 < v < 1}
        for value in sorted(numbers, reverse=True)[:MOST_VALUES] if any(open_) else ():
            point = tuple(value if o else x for o, x in zip(open_, first, strict=True))
            group = [point]
            for i, name in enumerate(self.names):
                unknown = self.fit.unknowns[name]
                if free[i] and name != "lr" and unknown.interval.high > 1:
                    sizes = [unknown.default * size for size in SIZES if unknown.default]
                    legal = [x for x in sizes if unknown.allows(x)]
                    group += [(*point[:i], x, *point[i + 1 :]) for x in legal]
            yield group


def _grid(options: Sequence[Sequence[float]], points: int) -> Iterator[tuple[float, ...]]:
    """Yield the first choice, those with one choice changed, those with two, then drawn ones."""
    drawn = points // DRAWN
    yield from itertools.islice(near_first(options), points - drawn)
    rng = random.Random(0)
    for _ in range(drawn):
        yield tuple(rng.choice(o) for o in options)


def near_first(options: Sequence[Sequence[float]]) -> Iterator[tuple[float, ...]]:
    """Yield the first of all options, then with one at another value, then with two."""
    first = tuple(o[0] for o in options)
    yield first
    for count in (1, 2):
        for places in itertools.combinations(range(len(options)), count):
            for values in itertools.product(*(options[i][1:] for i in places)):
                changed = list(first)
                for place, value in zip(places, values, strict=True):
                    changed[place] = value
                yield tuple(changed)
