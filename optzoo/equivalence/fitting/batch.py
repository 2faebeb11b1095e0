"""Many settings of one program at once: numpy arrays over courses, settings and elements.

A number of the scalar block has the shape (courses, settings, 1), a tensor (courses, settings,
elements), or with rows and columns in the place of elements where the program asks for sides. In
float64, for guesses only: what is found here is proved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from optzoo.equivalence.fitting.matrix_rules import MATRIX_RULES
from optzoo.equivalence.trajectory import ELEMENTS, Course
from optzoo.interpreters.arrays import RULES, ArrayDomain
from optzoo.program.expressions import Call, Expr, Name, Num, walk
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.tensors.named_sides import FULL, Shape

Array = npt.NDArray[np.float64]
Function = Callable[[Mapping[Name, Any]], Any]
LR = Name("lr")


class UnknownOperationError(Exception):
    """An operation that is not computed for many settings at once."""


class _Rules:
    """Operations on arrays, from expressions to functions of the values of names.

    With `smooth_signs` a sign is its argument at unit length. Two tensors have the same sign on all
    gradients where they are the same but for a positive factor, and then the same direction: that
    is a smooth question where the sign is none.
    """

    def __init__(self, *, smooth_signs: bool, is_flat: bool) -> None:
        self.smooth_signs, self.is_flat = smooth_signs, is_flat
        self.domain = ArrayDomain(np.float64)

    def function(self, expr: Expr) -> Function:
        """Return what an expression comes to, from the values of its names."""
        if isinstance(expr, Num):
            number = self.domain.number(expr.value)
            return lambda values: number
        if isinstance(expr, Name):
            name = expr
            return lambda values: values[name]
        rule, args = self._rule(expr.op), [self.function(arg) for arg in expr.args]
        if len(args) == 1:
            (only,) = args
            return lambda values: rule(only(values))
        if len(args) == 2:
            first, second = args
            return lambda values: rule(first(values), second(values))
        return lambda values: rule(*(arg(values) for arg in args))

    def _rule(self, op: str) -> Callable[..., Any]:
        if op == "norm":
            return _norm if self.is_flat else MATRIX_RULES[op]
        if op in MATRIX_RULES and not self.is_flat:
            return MATRIX_RULES[op]
        if op == "sign" and self.smooth_signs:
            return _direction if self.is_flat else _matrix_direction
        try:
            return RULES[op]
        except KeyError:
            raise UnknownOperationError(op) from None


def _norm(x: Any) -> Any:
    return np.sqrt(np.sum(np.square(x), axis=-1, keepdims=True))


def _direction(x: Any) -> Any:
    if not (np.ndim(x) and np.shape(x)[-1] > 1):
        return np.sign(x)
    length = _norm(x)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def _matrix_direction(x: Any) -> Any:
    length = MATRIX_RULES["norm"](x)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def has_signs(program: Program) -> bool:
    """Whether a step takes a sign of a tensor."""
    nodes = (node for line in program.step for node in walk(line.expr))
    return any(isinstance(node, Call) and node.op == "sign" for node in nodes)


class Courses:
    """Drawn courses of equal length, as arrays."""

    def __init__(self, courses: Sequence[Course]) -> None:
        def array(rows: Sequence[Any]) -> Array:
            return np.asarray([[float(x) for x in row] for row in rows])

        self.start = array([c.start for c in courses])[:, None, :]
        self.grads = [
            array([c.grads[i] for c in courses])[:, None, :] for i in range(len(courses[0]))
        ]
        self.factors = array([c.lr_factors for c in courses])
        self.total = np.asarray([[[float(c.total_steps)]] for c in courses])

    def __len__(self) -> int:
        return len(self.grads)


class ProgramBatch:
    """A program made ready to run at many settings."""

    def __init__(self, program: Program, *, smooth_signs: bool = False) -> None:
        if program.pooled:
            raise UnknownOperationError("model_sum")
        rules = _Rules(smooth_signs=smooth_signs, is_flat=program.is_flat)
        self.program = program
        self.scalars = [(line.target, rules.function(line.expr)) for line in program.scalars]
        self.step = [(line.target, rules.function(line.expr)) for line in program.step]
        self.shown = rules.function(program.view("eval").expr)
        self.kept = [(Name(s.name), Name(s.name, "prev")) for s in program.states]
        self.hypers = {Name(h.name): np.float64(float(h.value)) for h in program.hypers}

    def __call__(
        self,
        courses: Courses,
        settings: Mapping[str, Array],
        *,
        gains: Array | None = None,
        base_lr: float | None = None,
    ) -> tuple[Array, Array]:
        """Return training and evaluation points, each (courses, settings, steps, elements).

        `settings` holds an array over the settings for some hyperparameters; the rest keeps the
        program's values. The learning rate of a step is `base_lr`, or the program's own, times the
        course's factor, times `gains[:, step]`.
        """
        sizes = [len(v) for v in settings.values()] + ([] if gains is None else [len(gains)])
        shape = (len(courses.total), max(sizes, default=1), courses.start.shape[-1])
        sided = shape if self.program.is_flat else (*shape[:2], ELEMENTS, shape[2] // ELEMENTS)

        def number(values: Array) -> Array:
            return values if self.program.is_flat else values[..., None]

        def tensor(values: Array) -> Array:
            return values.reshape(*values.shape[:2], *sided[2:])

        given: dict[Name, Any] = dict(self.hypers)
        given |= {Name(name): number(values[None, :, None]) for name, values in settings.items()}
        base = given.get(LR, np.float64(1)) if base_lr is None else np.float64(base_lr)
        given |= {Name("T"): number(courses.total), Name("lr0"): base}
        param: Any = np.broadcast_to(tensor(courses.start), sided)
        kept: dict[Name, Any] = {}
        train, shown = np.empty((2, len(courses), *shape))
        with np.errstate(all="ignore"):
            for i, grad in enumerate(map(tensor, courses.grads)):
                if i == 0:
                    kept = self._begin(grad, param)
                lr = base * number(courses.factors[:, i][:, None, None])
                lr = lr if gains is None else lr * number(gains[None, :, i, None])
                values = {**given, **kept, Name("t"): np.float64(i + 1), LR: lr}
                values[PARAM.prev], values[GRAD] = param, grad
                for target, function in self.scalars:
                    values[target] = function(values)
                for target, function in self.step:
                    values[target] = function(values)
                param = values[PARAM]
                kept = {before: values[name] for name, before in self.kept}
                after = {**values, **{name: values[name] for name, _ in self.kept}}
                for found, value in ((train, param), (shown, self.shown(after))):
                    found[i] = np.broadcast_to(value, sided).reshape(shape)
        return np.moveaxis(train, 0, 2), np.moveaxis(shown, 0, 2)

    def _begin(self, grad: Array, param: Array) -> dict[Name, Any]:
        """Return what the states hold before the first step."""
        kept: dict[Name, Any] = {}
        for state in self.program.states:
            init: Any = {"grad": grad, "param": param}.get(str(state.init))
            if init is None:
                assert isinstance(state.init, Fraction)
                number = np.float64(float(state.init))
                init = number if state.sort == "scalar" else _filled(state.shape, grad, number)
            kept[Name(state.name, "prev")] = init
        return kept


def _filled(shape: Shape, grad: Array, number: np.float64) -> Array:
    """Return a buffer's first value, of the sides of its shape."""
    if shape == FULL:
        return np.full_like(grad, number)
    sizes = {"1": 1, "rows": grad.shape[-2], "cols": grad.shape[-1]}
    return np.full((*grad.shape[:-2], sizes[shape.rows], sizes[shape.cols]), number)
