"""What the state keeps for one parameter: its time, its buffers, what belongs to its rounding.

`optimizer.state[param]` is all there is. Whatever finds its way there counts (a loaded state,
numbers written by hand, a state moved from another parameter, one that was emptied), so an entry is
brought into the form that a step needs before it is used: scalars as 0-d float64 CPU tensors of
their own, tensors on the parameter's device, shaped like it, in the dtype that follows from its.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from optzoo.distributed.sharding import is_sharded, local, repeated_like, spread_like, whole
from optzoo.engines.torch_sides import buffer_shape
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.optimizer.precision import Precision
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import initial_memory
from optzoo.program.ir import Program
from optzoo.program.tensors.named_sides import FULL, Shape

STEP = "step"
"""Key of t, the number of updates a parameter has had, as torch's own optimizers call it."""
SHOWN = "train_point"
"""Key of the training point, kept while the parameter holds another view."""

Entry = MutableMapping[str, Any]

_FLOATS = FloatDomain()


@contextmanager
def on_the_host() -> Iterator[None]:
    """Let new tensors be real ones in host memory, whatever modes the caller is in.

    A step may run under another default device, under fake tensors or while it is traced; time is
    counted all the same.
    """
    modes = _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext()
    with default_on_cpu(), modes:
        yield


def default_on_cpu() -> Any:
    """Return a context in which new tensors are in host memory unless a device is named."""
    is_cpu = torch.get_default_device().type == "cpu"
    return nullcontext() if is_cpu else torch.device("cpu")


def scalar(value: float) -> Tensor:
    """Return a number as the state keeps it."""
    return torch.scalar_tensor(value, dtype=torch.float64, device="cpu")


def read_number(value: Any, name: str, of: str) -> float:
    """Return a scalar of a state as a float. Raises InputError for what is no number.

    `of` says whose it is: "parameter 3". A fake number has no value, and fake parameters need none.
    """
    if hasattr(value, "fake_mode"):
        return 0.0
    try:
        number = float(local(value) if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise refusal(f"`{name}` of {of} is {type(value).__name__}, not one number") from None
    if name == STEP and not (math.isfinite(number) and number >= 0 and number == int(number)):
        raise refusal(f"`{name}` of {of} is {number:g}: it counts steps, so 0, 1, 2, ...")
    return number


def is_trainable(param: Tensor) -> bool:
    """Return whether a parameter may get a gradient as it is now, and has a shape."""
    return param.requires_grad and not is_lazy(param)


def scalar_names(program: Program) -> list[str]:
    """Return the names of what is counted per parameter: t, and the scalars with memory."""
    return [STEP, *(state.name for state in program.scalar_states)]


def is_complete(entry: Entry | None, program: Program) -> bool:
    """Return whether an entry has a place for everything that a program keeps."""
    return entry is not None and all(
        name in entry for name in (STEP, *(state.name for state in program.states))
    )


class Preparation:
    """Brings entries into form; `begun` gathers what starts late, to be told of.

    Every scalar is a tensor of its own after it, also where entries had one in common.
    """

    def __init__(self, program: Program, precision: Precision) -> None:
        self.precision = precision
        self.initial = initial_memory(program, _FLOATS)
        self.fills = {
            state.name: float(state.init) if isinstance(state.init, Fraction) else 0.0
            for state in program.tensor_states
        }
        self.shapes = {state.name: state.shape for state in program.tensor_states}
        self.begun: set[str] = set()
        self._seen: set[int] = set()

    def count(self, entry: Entry, of: str) -> tuple[float, ...]:
        """Bring the scalars of an entry into form, on the host; return t and those with memory.

        At t = 0 nothing has been summed up, whatever they hold. Raises InputError for what is no
        number.
        """
        t = self._own_scalar(entry, STEP, 0.0, of)
        values = [t]
        for name, start in self.initial.items():
            if t and name not in entry:
                self.begun.add(name)
            held = self._own_scalar(entry, name, start, of)
            if held != start and not t:
                entry[name], held = scalar(start), start
            values.append(held)
        return tuple(values)

    def fit(self, entry: Entry, param: Tensor, of: str, t: float) -> None:
        """Bring the tensors of an entry into form; missing ones start as at the first step.

        Raises InputError for one that does not belong to the parameter.
        """
        for name, fill in self.fills.items():
            dtype = self.precision.buffer_dtype(name, param)
            held = entry.get(name)
            shape = self.shapes[name]
            if held is not None and not _is_hollow(held, param):
                entry[name] = placed(held, param, dtype, name, of, shape)
                continue
            if t:
                self.begun.add(name)
            entry[name] = filled(shape, param, fill, dtype)
        for name in self.precision.kept:
            if name in entry:
                entry[name] = placed(entry[name], param, None, name, of)
        self.precision.settle(entry, param)

    def _own_scalar(self, entry: Entry, name: str, start: float, of: str) -> float:
        """Make a scalar a tensor of its own; return what it holds."""
        held = entry.get(name)
        number = start if held is None else read_number(held, name, of)
        is_plain = (
            type(held) is Tensor
            and held.dim() == 0
            and held.dtype == torch.float64
            and held.is_cpu
            and id(held) not in self._seen
            and not held.requires_grad
        )
        if not is_plain:
            held = entry[name] = scalar(number)
        self._seen.add(id(held))
        return number


def filled(shape: Shape, param: Tensor, fill: float, dtype: torch.dtype) -> Tensor:
    """Return a new buffer of a parameter: laid out and spread like it, or whole by its sides."""
    if shape == FULL:
        return torch.full_like(param, fill, dtype=dtype, memory_format=torch.preserve_format)
    sizes = buffer_shape(shape, param)
    whole_one = torch.full(sizes, fill, dtype=dtype, device=local(param).device)
    return repeated_like(whole_one, param) if is_sharded(param) else whole_one


def placed(
    value: Any,
    param: Tensor,
    dtype: torch.dtype | None,
    name: str,
    of: str,
    shape: Shape = FULL,
) -> Tensor:
    """Return a tensor of a state where its parameter is; itself if it is there.

    What is shaped like the parameter is spread like it, and what has other sides is whole.
    """
    if not isinstance(value, Tensor):
        raise refusal(f"`{name}` of {of} is {type(value).__name__}, not a tensor")
    wanted = buffer_shape(shape, param)
    if tuple(value.shape) != wanted:
        has = "the parameter has" if shape == FULL else f"as {shape} of its parameter it has"
        raise refusal(
            f"`{name}` of {of} has shape {tuple(value.shape)}; {has} {wanted}",
            "a parameter that is cut or grown needs its state cut or grown alike",
        )
    if shape != FULL:
        held = value if dtype is None else value.to(dtype)
        if is_sharded(param):
            return repeated_like(held, param)
        return whole(held).to(param.device)
    if is_sharded(param) and not is_sharded(value):
        value = spread_like(value, param)
    elif is_sharded(value) and not is_sharded(param):
        value = whole(value)
    elif not is_sharded(param) and value.device != param.device:
        value = value.to(param.device)
    tensor: Tensor = value
    return tensor if dtype is None or tensor.dtype == dtype else tensor.to(dtype)


def check_grads(params: Sequence[Tensor]) -> None:
    """Raise InputError where a gradient is sparse or complex."""
    grads = [param.grad for param in params if param.grad is not None]
    is_complex = any(dtype.is_complex for dtype in {grad.dtype for grad in grads})
    if is_complex or {grad.layout for grad in grads} - {torch.strided}:
        kind = "complex" if is_complex else "sparse"
        hint = "use `nn.Embedding(..., sparse=False)`" if kind == "sparse" else None
        message = f"a gradient is {kind}; optzoo needs dense real gradients"
        raise InputError(Diagnostic("bad-grad", message, hint=hint))


def check_at_train_point(entry: Entry) -> None:
    """Raise RunError where a parameter holds a view, though its group says it trains."""
    if SHOWN in entry:
        raise RunError(
            "step() while parameters hold a view: their state keeps a training point",
            hint="call `optimizer.train()` first",
        )


def refusal(message: str, hint: str | None = None) -> InputError:
    """Return the error about a state that cannot be used."""
    return InputError(Diagnostic("foreign-state", message, hint=hint))


def _is_hollow(held: Any, param: Tensor) -> bool:
    """Return whether a buffer never had memory while its parameter has: it was made on `meta`."""
    return isinstance(held, Tensor) and held.is_meta and not param.is_meta
