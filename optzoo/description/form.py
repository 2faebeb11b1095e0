"""Describe a recipe: is it of the form of Eq. (1), and with which coefficients?

Everything is read off the program by the linear interpreter: the form is decided in exact rationals
at random points, the coefficients are computed in decimals at the recipe's own values and rounded
once, the closed forms are verified against the response. Weight decay is left out, whole, wherever
it acts; so are other terms in the parameter itself. What is not linear (preconditioner, mask, sign,
clips) is held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from optzoo.description.algebra import Ratio
from optzoo.description.closed import Closed
from optzoo.description.decision import Decision, decide, reads_parameter
from optzoo.description.formulas import Formulas, find_formulas, value_at
from optzoo.description.lr_schedules import check_lr_schedule, parse_lr_schedule
from optzoo.description.scalars import ScalarTable
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.cost import Cost, Storage, cost, storage_of
from optzoo.interpreters.linear import LinearDomain, LinearRun, run_linear
from optzoo.program.arithmetic import DecimalDomain, NotRealError, precisely
from optzoo.program.expressions import Expr
from optzoo.program.ir import Program
from optzoo.recipe.next_values import with_present_values
from optzoo.zoo import MAX_STEPS, Recipe, check_total_steps

if TYPE_CHECKING:
    from optzoo.description.averaging import EvaluatedPoint
    from optzoo.description.impulse import Nearest
    from optzoo.description.nonlinear import Nonlinearity
    from optzoo.description.reductions import Reduction
    from optzoo.description.window import Window

__all__ = ["Coefficients", "Decision", "Description", "Momentum", "decide", "describe"]

ASSUMED_TOTAL_STEPS = 10_000
DUST = Decimal("1e-30")
"""What rounding in the 50th digit leaves of a difference that is 0."""


LATER = 24
"""How many steps on a gradient is looked for that the step after its own does not read."""


class NoValueError(InputError):
    """Eq. (1) has no coefficients at one step of these hyperparameters."""


@dataclass(frozen=True)
class Coefficients:
    """beta_a(t), eta_a(t) and alpha_a(t) of Eq. (1) at one step."""

    t: int
    beta_a: float
    eta_a: float
    alpha_a: float


@dataclass(frozen=True)
class Momentum:
    """One momentum m_t = beta(t) m_{t-1} + x_t: its decay and its weight, as formulas.

    `of` is x: `grad`, or the line of the program that is accumulated. `moves` is what the weight
    goes to: `param`, or such a line.
    """

    buffers: str
    of: str
    moves: str
    beta: str
    eta: str


@dataclass(frozen=True)
class Description:
    """What `describe` found. The coefficients are methods of the step, which counts from 1.

    `program` is what trains, `undecayed` the same without its weight decay: what everything said of
    momenta, averages and coefficients is read off. `lr_factor` is what the learning rate is
    multiplied by at step t.
    """

    recipe: Recipe
    program: Program
    undecayed: Program
    decision: Decision
    total_steps: int
    at: tuple[int, ...]
    lr_factor: Expr
    lr_schedule: str = "constant"

    @property
    def form(self) -> bool:
        """Whether the recipe is of the form of Eq. (1)."""
        return self.decision.has_form

    @property
    def order(self) -> int:
        """The number of momenta."""
        return self.decision.momenta

    @property
    def state_bytes_per_parameter(self) -> int:
        """Bytes of state per float32 parameter, buffers as the recipe keeps them."""
        return self.cost.state_bytes(self.storage)

    @property
    def storage(self) -> Storage:
        """The dtypes of what a step touches, for float32 parameters."""
        return storage_of(self.recipe.state_dtypes)

    @cached_property
    def cost(self) -> Cost:
        """What a step reads, writes and keeps."""
        return cost(self.program)

    @cached_property
    def scalars(self) -> ScalarTable:
        """The scalars of the program at any step."""
        return ScalarTable(self.undecayed, self.lr_factor, self.total_steps)

    @cached_property
    def formulas(self) -> Formulas | None:
        """The closed forms, verified; None when none was found."""
        return find_formulas(self.undecayed, constant_lr=self.scalars.has_constant_lr)

    @property
    def closed_form(self) -> dict[str, str] | None:
        """`beta_a`, `eta_a`, `alpha_a` as formulas, verified; None when none was found.

        Without an Eq. (1) form only `alpha_a`: the rest is in `momenta`.
        """
        found = self.formulas
        if found is None:
            return None
        if not self.form or found.inner is not None:
            return {"alpha_a": found.text(found.outer.alpha)}
        if not found.outer.momenta:
            return {"beta_a": "0", "eta_a": "0", "alpha_a": found.text(found.outer.alpha)}
        (m,) = found.outer.momenta
        texts = map(found.text, (m.beta, m.eta, found.outer.alpha))
        return dict(zip(("beta_a", "eta_a", "alpha_a"), texts, strict=True))

    @property
    def momenta(self) -> tuple[Momentum, ...]:
        """Every momentum with its formulas; empty when no closed form was found."""
        found = self.formulas
        if found is None:
            return ()
        return tuple(
            Momentum(m.buffers, str(level.source), moved, found.text(m.beta), found.text(m.eta))
            for level, moved in self._levels()
            for m in level.momenta
        )

    def momentum_values(self, t: int) -> list[tuple[float, float]]:
        """Return (beta_i, eta_i) at step t, in the order of `momenta`; beta at step 1 is 0.

        NaN stands where a formula is 0/0: where nothing enters a momentum.
        """
        checked_step(t)
        rows = [m for level, _ in self._levels() for m in level.momenta]
        return [(0.0 if t == 1 else self._value(m.beta, t), self._value(m.eta, t)) for m in rows]

    def gradient_weights(self, t: int) -> list[float]:
        """Return alpha(t) of every level: of the step, and of the line inside it if there is one.

        Each is the weight of what that level accumulates, outside its momenta.
        """
        checked_step(t)
        return [self._value(level.alpha, t) for level, _ in self._levels()]

    def _levels(self) -> list[tuple[Closed, str]]:
        found = self.formulas
        if found is None:
            return []
        return list(zip(found.levels, ("param", str(found.outer.source)), strict=False))

    def _value(self, ratio: Ratio, t: int) -> float:
        try:
            return float(value_at(ratio, self.scalars, t)) + 0.0
        except ZeroDivisionError:
            return math.nan

    def beta_a(self, t: int) -> float:
        """Return the decay of the momentum at step t; at step 1 it is immaterial and 0."""
        return self.coefficients(t).beta_a

    def eta_a(self, t: int) -> float:
        """Return the weight of the momentum at step t, learning rate included."""
        return self.coefficients(t).eta_a

    def alpha_a(self, t: int) -> float:
        """Return the weight of the current gradient at step t, learning rate included."""
        return self.coefficients(t).alpha_a

    def coefficients(self, t: int) -> Coefficients:
        """Return all three at step t, each correct to about 1e-15 relative.

        Where the response does not determine them (no past gradient reaches step t, or nothing
        moves in step t + 1) the closed form says how eta_a + alpha_a is shared, and what beta_a is;
        without one alpha_a is all of it. Raises InputError when the
        recipe has no such form, or when a running scalar cannot be followed as far as t.
        """
        if not self.form:
            reason = f"it has {self.order} momenta" if self.decision.linear else "it is not linear"
            message = f"{self.recipe.name} has no Eq. (1) form: {reason}"
            raise InputError(Diagnostic("no-form", message))
        checked_step(t)
        try:
            with precisely():
                return self._read(t)
        except ArithmeticError as error:  # decimals refuse 0/0, 1/0 and what has no digits
            if isinstance(error, NotRealError) and error.line is not None:
                raise InputError(self.recipe.diagnostic(error)) from None
            message = f"`t={t}`: a coefficient of {self.recipe.name} has no value at this step"
            raise NoValueError(Diagnostic("no-value", message)) from None

    def run(self, steps: Sequence[int]) -> LinearRun[Decimal]:
        """Return what these consecutive steps do with their own gradients, in decimals."""
        memory = self.scalars.memory(steps[0] - 1)
        domain: LinearDomain[Decimal] = LinearDomain(DecimalDomain())
        with precisely():
            return run_linear(self.undecayed, domain, steps, self.scalars.inputs, memory)

    def _read(self, t: int) -> Coefficients:
        """Read the response to the gradients of steps t - 1 and t in steps t and t + 1.

        Where gradient t does not count in step t + 1, it may in one of the `LATER` steps.
        """
        zero = Decimal(0)
        first = max(1, t - 1)
        last, after = (_undusted(m.terms) for m in self.run(range(first, t + 2)).moves[-2:])
        if t not in after:
            later = self.run(range(first, t + LATER)).moves[t + 2 - first :]
            after = next((x for m in later if t in (x := _undusted(m.terms))), after)
        if t not in after and after.get(t - 1):
            raise ZeroDivisionError("a gradient is outlived by one before it")
        fed, read = after.get(t, zero), last.get(t - 1, zero) if t > 1 else zero
        beta = after.get(t - 1, zero) / fed if fed else self._closed(t, "beta")
        if read and not beta and not fed:  # the momentum dies after this step: any beta will do
            beta = Decimal(1)
        eta = -read / beta if beta and t > 1 else self._closed(t, "eta")
        total = -last.get(t, zero)
        alpha = total - eta
        if abs(alpha) < DUST * abs(total):
            alpha = zero
        return Coefficients(t, *(float(x) + 0.0 for x in (beta, eta, alpha)))

    def _closed(self, t: int, which: Literal["beta", "eta"]) -> Decimal:
        """Return beta_a or eta_a by the closed form, where steps t and t + 1 do not tell."""
        found = self.formulas
        if found is None or found.inner is not None or not found.outer.momenta:
            return Decimal(0)
        if which == "beta" and t == 1:
            return Decimal(0)
        try:
            return value_at(getattr(found.outer.momenta[0], which), self.scalars, t)
        except ZeroDivisionError:
            return Decimal(0)

    # ------------------------------------------------------------ beyond the coefficients

    @property
    def left_out(self) -> str | None:
        """What of the step is no matter of gradients, and left out of all coefficients."""
        found = ["weight decay"] if self.program.step != self.undecayed.step else []
        follows = any(s.init == "param" for s in self.undecayed.tensor_states)
        if not follows and reads_parameter(self.undecayed):
            found.append("terms in the parameter itself")
        return " and ".join(found) or None

    @property
    def ends(self) -> bool:
        """Whether something about the method depends on the number of steps."""
        return self.program.uses_total_steps or not self.scalars.has_constant_lr

    def total_weight(self, t: int) -> float | None:
        """Return the weight of gradient t in the steps from t to T together.

        None without a closed form, or where it is too many steps or too far out to add up.
        """
        from optzoo.description.impulse import CannotFold, total_weight

        try:
            return total_weight(self, checked_step(t), max(t, self.total_steps))
        except CannotFold:
            return None

    def nearest(self, t: int) -> Nearest | None:
        """Return the Eq. (1) optimizer nearest to the weights of past gradients in step t.

        The lags reach eight times as far back as the longest memory. None without a closed form.
        """
        from optzoo.description.impulse import LONGEST, CannotFold, nearest_form

        found = self.formulas
        if found is None or t < found.outer.first + 2:
            return None
        memories = [1 / (1 - beta) for beta, _ in self.momentum_values(t) if beta < 1]
        reach = math.ceil(8 * max(memories, default=1.0))
        first = max(level.first for level in found.levels)
        try:
            return nearest_form(self, t, min(t - first, max(reach, 32), LONGEST // 2))
        except CannotFold:
            return None

    @cached_property
    def reductions(self) -> list[Reduction]:
        """Settings under which the recipe has the form of Eq. (1); empty when it has it anyway."""
        from optzoo.description.reductions import find_reductions

        return [] if self.form else find_reductions(self.recipe)

    @cached_property
    def nonlinearities(self) -> list[Nonlinearity]:
        """What is held fixed, and on which side of the momentum it stands."""
        from optzoo.description.nonlinear import nonlinearities

        return nonlinearities(self.undecayed)

    @cached_property
    def points(self) -> list[EvaluatedPoint]:
        """The evaluated point, then the observers: what they are averages of."""
        from optzoo.description.averaging import evaluated_points

        return evaluated_points(self.undecayed, constant_lr=self.scalars.has_constant_lr)

    def window(self, point: EvaluatedPoint, t: int) -> Window:
        """Return how far an averaged point reaches back after step t."""
        from optzoo.description.window import window_at

        assert point.weight is not None
        return window_at(self, point.weight, checked_step(t))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the coefficients are null without an Eq. (1) form."""
        rows = [self._row(t) for t in self.at] if self.form else []
        near = None if self.form else self.nearest(self.at[-1])
        values = [self.momentum_values(t) for t in self.at]
        alphas = [_plain(self.gradient_weights(t)[0]) for t in self.at if self.formulas]
        return {
            "recipe": self.recipe.name,
            "form": self.form,
            "order": self.order,
            "held_fixed": list(self.decision.held_fixed),
            "total_steps": self.total_steps,
            "lr_schedule": self.lr_schedule,
            "t": list(self.at),
            "beta_a": [_plain(row.beta_a) for row in rows] or None,
            "eta_a": [_plain(row.eta_a) for row in rows] or None,
            "alpha_a": [_plain(row.alpha_a) for row in rows] or alphas or None,
            "momenta": [
                {
                    **asdict(momentum),
                    "beta_at_t": [_plain(row[i][0]) for row in values],
                    "eta_at_t": [_plain(row[i][1]) for row in values],
                }
                for i, momentum in enumerate(self.momenta)
            ],
            "closed_form": self.closed_form,
            "reductions": [asdict(r) for r in self.reductions],
            "nearest": asdict(near) if near is not None else None,
            "not_linear": [asdict(place) for place in self.nonlinearities],
            "evaluated": [self._point_json(point) for point in self.points],
            "where": self.formulas.where if self.formulas is not None else {},
            "state_bytes_per_parameter": self.state_bytes_per_parameter,
            "tensors_read": self.cost.tensors_read,
            "tensors_written": self.cost.tensors_written,
        }

    def _row(self, t: int) -> Coefficients:
        try:
            return self.coefficients(t)
        except NoValueError:
            return Coefficients(t, math.nan, math.nan, math.nan)

    def _point_json(self, point: EvaluatedPoint) -> dict[str, Any]:
        found = self.formulas
        weight = found.text(point.weight) if found and point.weight is not None else None
        return {
            "view": point.view,
            "kind": point.kind,
            "readout": point.text,
            "weight": weight,
            "newest_at_t": [self.window(point, t).newest for t in self.at] if weight else None,
        }


def _undusted(terms: Mapping[Any, Decimal]) -> dict[Any, Decimal]:
    """Return weights without those that are 0 but for rounding."""
    size = max(map(abs, terms.values()), default=Decimal(0))
    return {source: value for source, value in terms.items() if abs(value) > DUST * size}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def checked_step(t: int) -> int:
    """Return a step; InputError when it is none."""
    if not 1 <= t <= MAX_STEPS:
        shown = f"t={t}" if t < 1 else "t"
        raise InputError(Diagnostic("bad-value", f"`{shown}`: steps go from 1 to {MAX_STEPS:,}"))
    return t


def describe(
    recipe: Recipe,
    *,
    total_steps: int | None = None,
    at: Sequence[int] = (1, 10, 100, 1000),
    lr_schedule: str = "constant",
    observers: Sequence[str] = (),
    **hyperparameters: float | str,
) -> Description:
    """Describe a recipe at these hyperparameters.

    `total_steps` is `T`, 10,000 if left out; `lr_schedule` one of
    `optzoo.description.lr_schedules`, `observers` averages such as `tail:0.1`. Raises InputError
    for unknown hyperparameters, schedules and steps.
    """
    chosen = recipe.with_observers(observers).with_overrides(hyperparameters)
    program = chosen.trained_program()
    undecayed = with_present_values(chosen.trained_program(decays=False))
    steps = ASSUMED_TOTAL_STEPS if total_steps is None else total_steps
    check_total_steps(steps)
    factor = parse_lr_schedule(lr_schedule, steps)
    shown = tuple(checked_step(t) for t in at)
    check_lr_schedule(lr_schedule, factor, steps, shown)
    chosen.check_steps(max(shown, default=1), total_steps=steps)
    decision = decide(undecayed)
    return Description(chosen, program, undecayed, decision, steps, shown, factor, lr_schedule)
