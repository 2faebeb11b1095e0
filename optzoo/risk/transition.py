"""A step as a linear map of what one coordinate holds, read off the program.

Along an eigenvector of the Hessian the states s of a recipe (the parameter, its live buffers)
follow s_t = A_t s_{t-1} - b_t g_t, where g_t is the gradient at the parameter. The parameter is
counted from the target w*, and so is every buffer that holds a position; what is left of w* itself
where a step pulls to 0 (weight decay) is a state that stays. Runs start at w_0 = 0.

The coefficients are those of the linear interpreter, over all steps at once: what multiplies a
gradient and depends on gradients is held fixed at 1 and told.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from optzoo.interpreters.linear import (
    Factor,
    Form,
    Gain,
    LinearDomain,
    NotLinearError,
    Opaque,
    linear_step,
)
from optzoo.interpreters.random_point import DENOMINATOR, DrawnDomain, DrawnInputs
from optzoo.program.domain import Domain, evaluate, initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Call, Expr, Name
from optzoo.program.ir import GRAD, PARAM, Program, State
from optzoo.risk.step_scalars import StepScalars

Table = npt.NDArray[np.float64]
CHUNK = 1 << 14
"""Steps whose coefficients are held at once: some MiB."""
DRAWN_STEPS = 6
"""Steps at random points that decide what depends on w*."""
_WEIGHT = Fraction(271_828, 314_159)
"""Of the first way of a condition at drawn steps, where coefficients are random already."""
GRADIENT = "gradient"
"""The source that stands for the gradient of the step."""


@dataclass(frozen=True)
class Readings:
    """What one step makes of its sources: a form of each linear state, and of the view after it."""

    rows: Mapping[Name, Form[Any]]
    view: Form[Any]
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class StepTable:
    """Coefficients of consecutive steps: `step` holds A (row by row) and then b, `view` r.

    One row is a step; a single row stands for all `count` steps.
    """

    count: int
    step: Table
    view: Table


class _BothWays(LinearDomain[Any]):
    """Linear forms, in which a condition made of numbers holds at some steps and not at others.

    What either way reads is read; at drawn steps both ways are mixed.
    """

    is_drawn: bool = False

    def read(self, expr: Expr, values: Mapping[Name, Any]) -> Any:
        """Return the value of an expression."""
        if not (isinstance(expr, Call) and expr.op == "where"):
            return super().read(expr, values)
        condition, *ways = [self.read(arg, values) for arg in expr.args]
        if any(isinstance(way, Form) for way in ways):  # 0 is a form too
            ways = [Form({}) if not np.ndim(way) and way == 0 else way for way in ways]
        if isinstance(condition, Form | Opaque) or not all(isinstance(w, Form) for w in ways):
            self.node = expr
            return self.apply("where", [condition, *ways])
        zero = self.number(Fraction(0))
        sources = dict.fromkeys(source for way in ways for source in way.terms)
        pairs = {source: [way.terms.get(source, zero) for way in ways] for source in sources}
        return Form({source: self._chosen(condition, *pair) for source, pair in pairs.items()})

    def _chosen(self, condition: Any, a: Any, b: Any) -> Any:
        if not self.is_drawn:
            return self.scalars.apply("where", [condition, a, b])
        return b + _WEIGHT * (a - b)


class Transition:
    """The linear map of a program, seen from one view.

    `states` are those that the parameter or the view depends on, the parameter first. Raises
    NotLinearError for a program that is not linear even with its preconditioner held fixed.
    """

    def __init__(self, program: Program, view: str) -> None:
        self.program, self.view = program, view
        if program.pooled:
            raise NotLinearError("its numbers are sums over all parameters, squares among them")
        self.linear, drawn = self._decided()
        self.gains = drawn[-1].gains
        self.states = self._live(drawn)
        self.pulls = any(any(map(bool, self._leftover(each))) for each in drawn)
        self.size = len(self.states) + self.pulls

    # ---------------------------------------------------------------- reading a step

    def _decided(self) -> tuple[frozenset[str], list[Readings]]:
        """Return the linear buffers, and some steps at random points, exactly.

        Every scalar is a number of its own there: a gate that opens later is open.
        """
        linear = frozenset(s.name for s in self.program.tensor_states)
        while True:
            rng = random.Random(0)
            domain = DrawnDomain(rng)
            inputs = DrawnInputs(self.program, rng, DRAWN_STEPS)
            memory = initial_memory(self.program, domain)
            found = []
            for t in range(1, DRAWN_STEPS + 1):
                scalars = run_scalars(self.program, domain, inputs(t), memory)
                memory = kept_memory(self.program, scalars)
                scalars |= {name: _drawn(rng) for name in self._computed}
                found.append(self._read(domain, scalars, linear, first=t == 1))
            still = frozenset(name.id for each in found for name in each.rows) - {PARAM.id}
            still = frozenset(n for n in still if all(Name(n) in each.rows for each in found))
            if still == linear:
                return linear, found
            linear = still  # a buffer fed by what is not linear is not linear in the next step

    @property
    def _computed(self) -> list[Name]:
        """The scalars that a step computes or remembers, and its clock."""
        states = [Name(s.name, "prev") for s in self.program.scalar_states]
        return [*(line.target for line in self.program.scalars), *states, Name("t")]

    def _read(
        self,
        scalars_domain: Domain[Any],
        scalars: Mapping[Name, Any],
        linear: frozenset[str],
        *,
        first: bool,
    ) -> Readings:
        """Run one step with every linear buffer as a source of its own."""
        one = scalars_domain.number(Fraction(1))
        domain = _BothWays(scalars_domain)
        domain.is_drawn = isinstance(scalars_domain, DrawnDomain)
        values: dict[Name, Any] = {**scalars, PARAM.prev: Form({PARAM: one})}
        values[GRAD] = Form({GRADIENT: one})
        for state in self.program.tensor_states:
            name = Name(state.name)
            if state.name not in linear:
                values[name.prev] = Opaque(one, (Factor("elementwise factor", name.prev),))
            elif first and state.init == "grad":
                values[name.prev] = values[GRAD]
            else:
                values[name.prev] = Form({name: one})
        linear_step(self.program, domain, values)
        kept = {Name(name): values[Name(name)] for name in linear} | {PARAM: values[PARAM]}
        rows = {name: value for name, value in kept.items() if isinstance(value, Form)}
        after = {**values, **{name: Form({name: one}) for name in rows}}
        view = evaluate(self.program.view(self.view).expr, domain, after)
        if PARAM not in rows or not isinstance(view, Form):
            raise NotLinearError("it is not linear, even with its preconditioner held fixed")
        return Readings(rows, view, tuple(domain.gains))

    def _live(self, drawn: Sequence[Readings]) -> tuple[Name, ...]:
        """Return the states that the view or the parameter is made of, through any steps."""
        reads: dict[Hashable, set[Hashable]] = {}
        for each in drawn:
            for name, form in each.rows.items():
                reads.setdefault(name, set()).update(form.terms)
        live: set[Hashable] = set()
        stack: list[Hashable] = [PARAM, *(source for each in drawn for source in each.view.terms)]
        while stack:
            source = stack.pop()
            if source not in live and source != GRADIENT:
                live.add(source)
                stack += reads[source]
        order = [PARAM, *(Name(s.name) for s in self.program.tensor_states)]
        return tuple(name for name in order if name in live)

    # ---------------------------------------------------------------- positions and starts

    @cached_property
    def _scalars(self) -> StepScalars:
        return StepScalars(self.program, np.longdouble)

    @cached_property
    def _quick_scalars(self) -> StepScalars:
        return StepScalars(self.program, np.float64)

    @cached_property
    def _places(self) -> dict[Name, State]:
        return {Name(s.name): s for s in self.program.tensor_states}

    def is_position(self, name: Name) -> bool:
        """Whether a state is a point of the parameter's space, counted from w*."""
        return name == PARAM or self._places[name].init == "param"

    @property
    def start(self) -> tuple[Table, Table]:
        """The states before the first step: times w_0 - w*, and what does not depend on it."""
        slopes = [1.0 if self.is_position(name) else 0.0 for name in self.states]
        offsets = [0.0] * self.size
        for i, name in enumerate(self.states):
            init = None if name == PARAM else self._places[name].init
            if isinstance(init, Fraction):
                offsets[i] = float(init)
        return np.array(slopes + [-1.0] * self.pulls), np.array(offsets)

    def _leftover(self, found: Readings) -> list[Any]:
        """Return what each state, and the view, gains from w* in a step, positions counted from it.

        Moving a point and everything around it moves a step likewise exactly where all are 0.
        """
        forms = [(found.rows[name], self.is_position(name)) for name in self.states]
        return [
            sum(v for source, v in form.terms.items() if self._is_place(source)) - is_position
            for form, is_position in [*forms, (found.view, True)]
        ]

    def _is_place(self, source: Any) -> bool:
        return source != GRADIENT and self.is_position(source)

    # ---------------------------------------------------------------- numbers

    def coefficients(
        self,
        values: Mapping[str, float],
        lr_factor: Expr,
        total_steps: int,
        last: int,
        *,
        quick: bool = False,
    ) -> Iterator[StepTable]:
        """Yield the coefficients of the steps 1 to `last`, chunk by chunk.

        `values` replace hyperparameters. `quick` computes in float64 all along, where else only
        what comes of it is rounded to that. Raises NotRealError where a scalar has no value.
        """
        scalars = self._quick_scalars if quick else self._scalars
        domain = scalars.domain
        of_its_own = any(s.init == "grad" and s.name in self.linear for s in self._places.values())
        size = min(last, CHUNK)
        for first, known in scalars.chunks(values, lr_factor, total_steps, last, size):
            count = min(size, last + 1 - first)
            rest = self._numbers(self._read(domain, known, self.linear, first=False), count)
            if first == 1 and of_its_own:
                head = self._numbers(self._read(domain, known, self.linear, first=True), count)
                rest = _with_first(head, rest)
            yield rest

    def _numbers(self, found: Readings, count: int) -> StepTable:
        """Return the forms of a chunk as tables."""
        leftover: list[Any] = self._leftover(found) if self.pulls else []
        cells = []
        for i, name in enumerate(self.states):
            form = found.rows[name]
            cells += [form.terms.get(other, 0.0) for other in self.states]
            cells += leftover[i : i + 1]
        if self.pulls:
            cells += [0.0] * len(self.states) + [1.0]
        gradients = [-1 * found.rows[name].terms.get(GRADIENT, 0.0) for name in self.states]
        cells += gradients + [0.0] * self.pulls
        view = [found.view.terms.get(name, 0.0) for name in self.states] + leftover[-1:]
        return StepTable(count, _table(cells, count), _table(view, count))


def _drawn(rng: random.Random) -> Fraction:
    return Fraction(rng.randrange(1, DENOMINATOR), DENOMINATOR)


def _table(cells: Sequence[Any], count: int) -> Table:
    rows = count if any(np.ndim(cell) for cell in cells) else 1
    table = np.empty((rows, len(cells)))
    for i, cell in enumerate(cells):
        table[:, i] = cell
    return table


def _with_first(head: StepTable, rest: StepTable) -> StepTable:
    """Return the coefficients of `rest`, its first step replaced."""
    tables = []
    for first, table in ((head.step, rest.step), (head.view, rest.view)):
        whole = np.repeat(table, rest.count, axis=0) if len(table) == 1 else table
        tables.append(np.concatenate([first[:1], whole[1:]]))
    return StepTable(rest.count, *tables)
