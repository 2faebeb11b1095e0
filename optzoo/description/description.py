"""Describe a recipe: is it of the form of Eq. (1), and with which coefficients?

A description is data: `optzoo.description.derivation` computes it, the printers show it. Weight
decay is left out, whole, wherever it acts; so are other terms in the parameter itself. What is not
linear (preconditioner, mask, sign, clips) is held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optzoo.description.averages import EvaluatedPoint, evaluated_points
from optzoo.description.derivation import Coefficients, Derivation, NoValueError, checked_step
from optzoo.description.forms.formulas import Formulas, coefficient_formulas
from optzoo.description.in_words import in_words
from optzoo.description.learning_rate import gradient_weight, lr_scale
from optzoo.description.nonlinear import Nonlinearity, nonlinearities
from optzoo.description.reductions import Reduction, find_reductions
from optzoo.description.response import Decision, reads_parameter
from optzoo.interpreters.cost import Cost, Storage, cost, storage_of
from optzoo.program.expressions import format_expression
from optzoo.program.ir import Program
from optzoo.program.simplify import with_given_sums
from optzoo.recipe.next_values import with_present_values
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schedules import LrMultiplier, check_lr_schedule, parse_lr_schedule
from optzoo.recipe.values import check_total_steps

if TYPE_CHECKING:
    from optzoo.description.weights import Nearest, Window

__all__ = ["AtStep", "Description", "Momentum", "describe"]

ASSUMED_TOTAL_STEPS = 10_000


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
class AtStep:
    """What holds at one step.

    `coefficients` is None without an Eq. (1) form and where they have no value; `momenta` are
    (beta_i, eta_i), `gradient_weights` the alpha of every level.
    """

    t: int
    coefficients: Coefficients | None
    momenta: tuple[tuple[float, float], ...]
    gradient_weights: tuple[float, ...]


@dataclass(frozen=True)
class Description:
    """What `describe` found. Steps count from 1.

    `program` is what trains; all that is said of momenta, averages and coefficients is read off the
    same without its weight decay. `steps` and `windows` are for the steps asked for: `windows` has
    a row for every point, empty where that is no average. `whole_run` is the weight of gradient T/2
    in the steps to T together, where coefficients depend on the end of the run. `derivation`
    answers for any other step.
    """

    recipe: Recipe
    program: Program
    decision: Decision
    total_steps: int
    lr_schedule: str
    ends: bool
    left_out: str | None
    cost: Cost
    formulas: Formulas | None
    momenta: tuple[Momentum, ...]
    steps: tuple[AtStep, ...]
    whole_run: float | None
    nearest_form: Nearest | None
    reductions: tuple[Reduction, ...]
    nonlinearities: tuple[Nonlinearity, ...]
    points: tuple[EvaluatedPoint, ...]
    windows: tuple[tuple[Window, ...], ...]
    derivation: Derivation

    @property
    def form(self) -> bool:
        """Whether the recipe is of the form of Eq. (1)."""
        return self.decision.has_form

    @property
    def order(self) -> int:
        """The number of momenta."""
        return self.decision.momenta

    @property
    def of_model(self) -> tuple[str, ...]:
        """Numbers of the whole model that a step reads; its coefficients hold them as they come."""
        return self.derivation.of_model

    @property
    def at(self) -> tuple[int, ...]:
        """The steps asked for."""
        return tuple(row.t for row in self.steps)

    @property
    def storage(self) -> Storage:
        """The dtypes of what a step touches, for float32 parameters."""
        return storage_of(self.recipe.state_dtypes)

    @property
    def state_bytes_per_parameter(self) -> int:
        """Bytes of state per float32 parameter, buffers as the recipe keeps them."""
        return self.cost.state_bytes(self.storage)

    @property
    def closed_form(self) -> dict[str, str] | None:
        """`beta_a`, `eta_a`, `alpha_a` as formulas, verified; None when none was found.

        Without an Eq. (1) form only `alpha_a`: the rest is in `momenta`.
        """
        found = coefficient_formulas(self.formulas, self.decision)
        return {key: format_expression(expr) for key, expr in found.items()} or None

    @property
    def sentence(self) -> str:
        """What the recipe is, in one plain sentence."""
        return in_words(self)

    # ------------------------------------------------------------ at any step

    def coefficients(self, t: int) -> Coefficients:
        """Return beta_a, eta_a and alpha_a at step t: see `Derivation.coefficients`."""
        return self.derivation.coefficients(t)

    def beta_a(self, t: int) -> float:
        """Return the decay of the momentum at step t; at step 1 it is immaterial and 0."""
        return self.coefficients(t).beta_a

    def eta_a(self, t: int) -> float:
        """Return the weight of the momentum at step t, learning rate included."""
        return self.coefficients(t).eta_a

    def alpha_a(self, t: int) -> float:
        """Return the weight of the current gradient at step t, learning rate included."""
        return self.coefficients(t).alpha_a

    def momentum_values(self, t: int) -> list[tuple[float, float]]:
        """Return (beta_i, eta_i) at step t, in the order of `momenta`."""
        return self.derivation.momentum_values(t)

    def gradient_weights(self, t: int) -> list[float]:
        """Return alpha(t) of every level: see `Derivation.gradient_weights`."""
        return self.derivation.gradient_weights(t)

    def nearest(self, t: int) -> Nearest | None:
        """Return the Eq. (1) optimizer nearest in step t: see `weights.nearest_at`."""
        return _nearest(self.derivation, checked_step(t))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the coefficients are null without an Eq. (1) form."""
        rows = [row.coefficients for row in self.steps] if self.form else []
        alphas = [_plain(row.gradient_weights[0]) for row in self.steps if row.gradient_weights]
        near = self.nearest_form
        return {
            "recipe": self.recipe.name,
            "sentence": self.sentence,
            "form": self.form,
            "order": self.order,
            "held_fixed": list(self.decision.held_fixed),
            "total_steps": self.total_steps,
            "lr_schedule": self.lr_schedule,
            "lr_scale": lr_scale(self),
            "gradient_weight": gradient_weight(self),
            "t": list(self.at),
            "beta_a": [None if row is None else row.beta_a for row in rows] or None,
            "eta_a": [None if row is None else row.eta_a for row in rows] or None,
            "alpha_a": [None if row is None else row.alpha_a for row in rows] or alphas or None,
            "momenta": [
                {
                    **asdict(momentum),
                    "beta_at_t": [_plain(row.momenta[i][0]) for row in self.steps],
                    "eta_at_t": [_plain(row.momenta[i][1]) for row in self.steps],
                }
                for i, momentum in enumerate(self.momenta)
            ],
            "closed_form": self.closed_form,
            "reductions": [asdict(r) for r in self.reductions],
            "nearest": asdict(near) if near is not None else None,
            "not_linear": [asdict(place) for place in self.nonlinearities],
            "evaluated": [
                self._point_json(point, windows)
                for point, windows in zip(self.points, self.windows, strict=True)
            ],
            "where": self.formulas.where_text if self.formulas is not None else {},
            "state_bytes_per_parameter": self.state_bytes_per_parameter,
            "tensors_read": self.cost.tensors_read,
            "tensors_written": self.cost.tensors_written,
        }

    def _point_json(self, point: EvaluatedPoint, windows: Sequence[Window]) -> dict[str, Any]:
        found = self.formulas
        weight = found.text(point.weight) if found and point.weight is not None else None
        return {
            "view": point.view,
            "kind": point.kind,
            "readout": point.text,
            "weight": weight,
            "newest_at_t": [window.newest for window in windows] if weight else None,
        }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def describe_rules(recipe: Recipe, **options: Any) -> list[Description]:
    """Describe each rule of a recipe, in the order of its routes; `options` are of `describe`."""
    return [describe(rule, **options) for rule in recipe.rules]


def describe(
    recipe: Recipe,
    *,
    total_steps: int | None = None,
    at: Sequence[int] = (1, 10, 100, 1000),
    lr_schedule: str | LrMultiplier = "constant",
    observers: Sequence[str] = (),
    **hyperparameters: float | str,
) -> Description:
    """Describe a recipe at these hyperparameters.

    `total_steps` is `T`, 10,000 if left out; `lr_schedule` one of
    `optzoo.recipe.schedules`, as text or as a setup has it; `observers` are averages such as
    `tail:0.1`. Raises InputError for unknown hyperparameters, schedules and steps.
    """
    chosen = recipe.with_observers(observers).with_overrides(hyperparameters)
    program = chosen.trained_program()
    undecayed = with_present_values(with_given_sums(chosen.trained_program(decays=False)))
    steps = ASSUMED_TOTAL_STEPS if total_steps is None else total_steps
    check_total_steps(steps)
    if isinstance(lr_schedule, str):
        lr_schedule = LrMultiplier(lr_schedule, parse_lr_schedule(lr_schedule, steps), steps)
    text, factor = lr_schedule.text, lr_schedule.factor
    shown = tuple(checked_step(t) for t in at)
    check_lr_schedule(text, factor, steps, shown)
    chosen.check_steps(max(shown, default=1), total_steps=steps)
    return _described(chosen, program, Derivation(chosen, undecayed, factor, steps), shown, text)


def _described(
    recipe: Recipe, program: Program, found: Derivation, at: Sequence[int], lr_schedule: str
) -> Description:
    constant_lr, has_form = found.scalars.has_constant_lr, found.decision.has_form
    ends = program.uses_total_steps or not constant_lr
    points = tuple(evaluated_points(found.undecayed, constant_lr=constant_lr))
    return Description(
        recipe=recipe,
        program=program,
        decision=found.decision,
        total_steps=found.total_steps,
        lr_schedule=lr_schedule,
        ends=ends,
        left_out=_left_out(recipe, found.undecayed),
        cost=cost(program),
        formulas=found.formulas,
        momenta=_momenta(found),
        steps=tuple(_at_step(found, t) for t in at),
        whole_run=_whole_run(found) if ends else None,
        nearest_form=None if has_form or not at else _nearest(found, at[-1]),
        reductions=() if has_form else tuple(find_reductions(recipe)),
        nonlinearities=tuple(nonlinearities(found.undecayed)),
        points=points,
        windows=tuple(_windows(found, point, at) for point in points),
        derivation=found,
    )


def _left_out(recipe: Recipe, undecayed: Program) -> str | None:
    """Return what of the step is no matter of gradients, and left out of all coefficients."""
    decays = recipe.trained_program().step != recipe.trained_program(decays=False).step
    found = ["weight decay"] if decays else []
    follows = any(s.init == "param" for s in undecayed.tensor_states)
    if not follows and reads_parameter(undecayed):
        found.append("terms in the parameter itself")
    return " and ".join(found) or None


def _momenta(found: Derivation) -> tuple[Momentum, ...]:
    """Return every momentum with its formulas; none when no closed form was found."""
    text = found.formulas.text if found.formulas is not None else None
    return tuple(
        Momentum(m.buffers, str(level.source), moved, text(m.beta), text(m.eta))
        for level, moved in found.levels
        for m in level.momenta
        if text is not None
    )


def _at_step(found: Derivation, t: int) -> AtStep:
    coefficients: Coefficients | None = None
    if found.decision.has_form:
        with suppress(NoValueError):
            coefficients = found.coefficients(t)
    if found.of_model and coefficients == Coefficients(t, 0.0, 0.0, 0.0):
        coefficients = None  # nothing moves before the first gradient has been summed up
    return AtStep(
        t, coefficients, tuple(found.momentum_values(t)), tuple(found.gradient_weights(t))
    )


# The rest needs numpy, which a recipe of the form without averages does not wait for.


def _whole_run(found: Derivation) -> float | None:
    from optzoo.description.weights import weight_from

    half = found.total_steps // 2
    return weight_from(found, half) if half else None


def _nearest(found: Derivation, t: int) -> Nearest | None:
    from optzoo.description.weights import nearest_at

    return nearest_at(found, t)


def _windows(found: Derivation, point: EvaluatedPoint, at: Sequence[int]) -> tuple[Window, ...]:
    if point.weight is None or found.formulas is None:
        return ()
    from optzoo.description.weights import window_at

    return tuple(window_at(found, point.weight, t) for t in at)
