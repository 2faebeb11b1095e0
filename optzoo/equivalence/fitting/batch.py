"""Many settings of one program at once: numpy arrays over courses, settings and elements.

A number of the scalar block has the shape (courses, settings, 1), a tensor (courses, settings,
elements). In float64, for guesses only: what is found here is proved elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from optzoo.equivalence.trajectory import Course
from optzoo.interpreters.arrays import ArrayDomain
from optzoo.program.domain import initial_memory, kept_memory, run_scalars, run_step, run_view
from optzoo.program.expressions import Call, walk
from optzoo.program.ir import Program

Array = npt.NDArray[np.float64]


class UnknownOperationError(Exception):
    """An operation that is not computed for many settings at once."""


class BatchDomain(ArrayDomain):
    """Float64 arrays. With `smooth_signs` a sign is its argument at unit length.

    Two tensors have the same sign on all gradients where they are the same but for a positive
    factor, and then the same direction: that is a smooth question where the sign is none.
    """

    def __init__(self, *, smooth_signs: bool) -> None:
        super().__init__(np.float64)
        self.smooth_signs = smooth_signs

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        """Apply an operation to whole arrays."""
        if op == "norm":
            return np.sqrt(np.sum(np.square(args[0]), axis=-1, keepdims=True))
        if op == "sign" and self.smooth_signs and np.ndim(args[0]) and np.shape(args[0])[-1] > 1:
            length = np.sqrt(np.sum(np.square(args[0]), axis=-1, keepdims=True))
            return np.divide(args[0], length, out=np.zeros_like(args[0]), where=length > 0)
        try:
            return super().apply(op, args)
        except KeyError:
            raise UnknownOperationError(op) from None


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


def run_batch(
    program: Program,
    courses: Courses,
    settings: Mapping[str, Array],
    *,
    gains: Array | None = None,
    base_lr: float | None = None,
    smooth_signs: bool = False,
) -> tuple[Array, Array]:
    """Return training and evaluation points, each of shape (courses, settings, steps, elements).

    `settings` holds an array over the settings for some hyperparameters; the rest keeps the
    program's values. The learning rate of a step is `base_lr`, or the program's own, times the
    course's factor, times `gains[:, step]`.
    """
    domain = BatchDomain(smooth_signs=smooth_signs)
    size = max([len(v) for v in settings.values()] + ([len(gains)] if gains is not None else [1]))
    shape = (len(courses.total), size)
    inputs: dict[str, Any] = {h.name: domain.number(h.value) for h in program.hypers}
    inputs |= {name: values[None, :, None] for name, values in settings.items()}
    base = inputs.get("lr", np.float64(1)) if base_lr is None else np.float64(base_lr)
    inputs |= {"T": courses.total, "lr0": base}
    elements = courses.start.shape[-1]
    param: Any = np.broadcast_to(courses.start, (*shape, elements))
    memory: Mapping[str, Any] = initial_memory(program, domain)
    buffers: dict[str, Any] = {}
    train, shown = [], []
    with np.errstate(all="ignore"):
        for i, grad in enumerate(courses.grads):
            if i == 0:
                buffers = {s.name: _first(s.init, grad, param) for s in program.tensor_states}
            lr = base * courses.factors[:, i][:, None, None]
            given = {
                **inputs,
                "t": np.float64(i + 1),
                "lr": lr if gains is None else lr * gains[None, :, i, None],
            }
            scalars = run_scalars(program, domain, given, memory)
            memory = kept_memory(program, scalars)
            param, buffers = run_step(program, domain, scalars, param, grad, buffers)
            point = run_view(program, "eval", domain, given, memory, param, buffers)
            train.append(np.broadcast_to(param, (*shape, elements)))
            shown.append(np.broadcast_to(point, (*shape, elements)))
    return np.stack(train, axis=2), np.stack(shown, axis=2)


def _first(init: Any, grad: Array, param: Array) -> Any:
    if isinstance(init, str):
        return grad if init == "grad" else param
    assert isinstance(init, Fraction)
    return np.full_like(grad, float(init))
