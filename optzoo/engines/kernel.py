"""Kernels: the source of a step, compiled by torch's inductor into few passes over memory.

A `Kernel` runs `torch.compile` once, on tensors of its own with sizes left open, and keeps the
function inductor made. A call then goes straight to that function: no guard is evaluated and
nothing can recompile, whatever the shapes, the learning rate or t. What made the shortcut safe is
checked before it is used: the compiled step must agree with the same source run eagerly, on
tensors of other sizes. Nothing here knows what a program is.

The text that is executed here is generated from a checked program (`optzoo.engines.render.python`),
never from what a user wrote.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LANES = 16
"""Width of the matrices elementwise steps work on: a whole number of vector registers per row, so
that inductor's loops need no test for a remainder."""
SERIAL = 1 << 15
"""Elements below which one thread is faster than waking more, as in torch's own kernels."""

Row = tuple[Tensor, ...]
"""The tensors of one parameter, in the order of the step's arguments, all of one shape."""


class CompilationError(Exception):
    """A step could not be compiled here; the message is one line for the user."""


@dataclass(frozen=True)
class Target:
    """What a kernel is compiled for: where, the dtypes of arithmetic and gradients, the shape.

    Tensors are matrices of `LANES` columns; flat where a step needs `whole` tensors.
    """

    device: torch.device
    dtype: torch.dtype
    grad_dtype: torch.dtype
    whole: bool

    @property
    def rows(self) -> int:
        """How many parameters one call takes: a GPU wants few launches, a CPU little to compile."""
        return 16 if self.device.type == "cuda" else 1

    @property
    def size(self) -> int:
        """First size of the tensors to compile with; only a hint to inductor."""
        elements = 1 << 18 if self.device.type == "cuda" else 1 << 14
        return elements if self.whole else elements // LANES

    @property
    def options(self) -> dict[str, Any]:
        """Settings of inductor."""
        if self.device.type == "cuda":
            return {"combo_kernels": True, "combo_kernel_max_num_nodes": self.rows}
        # as many threads as torch has at the call; products that are added round once
        return {
            "cpp.dynamic_threads": True,
            "cpp.enable_floating_point_contract_flag": "fast",
            "size_asserts": False,  # the engine makes every row itself
        }


@dataclass
class _Inductor:
    """Inductor as a backend of `torch.compile`; remembers the function it made and its inputs."""

    options: dict[str, Any]
    made: Callable[[list[Any]], Any] | None = None
    inputs: list[Any] = field(default_factory=list)

    def __call__(self, graph: Any, example_inputs: Any) -> Any:
        from torch._inductor.compile_fx import compile_fx

        return compile_fx(
            graph, example_inputs, inner_compile=self.compile, config_patches=self.options
        )

    def compile(self, graph: Any, example_inputs: Any, **settings: Any) -> Any:
        from torch._inductor.compile_fx import compile_fx_inner

        made = compile_fx_inner(graph, example_inputs, **settings)

        def run(inputs: list[Any]) -> Any:
            self.inputs = list(inputs)
            return made(inputs)

        run._boxed_call = True  # type: ignore[attr-defined]
        self.made = made
        return run


class Kernel:
    """A compiled step.

    `text` defines the function `name` of `width` tensors (the parameter, its gradient, buffers) and
    one tensor of `coefficients` numbers. `seconds` is what compiling took.
    """

    def __init__(self, text: str, name: str, width: int, coefficients: int, target: Target) -> None:
        begin = time.perf_counter()
        self.target = target
        self._width, self._coefficients = width, coefficients
        self._random = torch.Generator().manual_seed(0)
        step = _load(text, name)
        try:
            with warnings.catch_warnings():  # inductor's own, about its own ways
                warnings.simplefilter("ignore")
                self._call, self._order = self._compile(step)
                self._check(step)
        except CompilationError:
            raise
        except Exception as error:  # whatever inductor, the C++ compiler or triton fail with
            raise CompilationError(_one_line(error)) from error
        self._padding = self._rows([2])[0]
        self.seconds = time.perf_counter() - begin

    def __call__(self, rows: Sequence[Row], coefficients: Tensor) -> None:
        """Run the step on each row, in place.

        Tensors are contiguous and not empty, of the target's dtypes and shape.
        """
        if self.target.device.type == "cpu":
            self._on_cpu(rows, coefficients)
            return
        per_call = self.target.rows
        for start in range(0, len(rows), per_call):
            part = list(rows[start : start + per_call])
            part += [self._padding] * (per_call - len(part))
            self._run(part, coefficients)

    def _on_cpu(self, rows: Sequence[Row], coefficients: Tensor) -> None:
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            for row in rows:
                if row[0].numel() < SERIAL:
                    self._run((row,), coefficients)
        finally:
            torch.set_num_threads(threads)
        for row in rows:
            if row[0].numel() >= SERIAL:
                self._run((row,), coefficients)

    def _run(self, rows: Sequence[Row], coefficients: Tensor) -> None:
        flat = _flatten(rows, coefficients)
        self._call([flat[i] for i in self._order])

    def _compile(self, step: Step) -> tuple[Callable[[list[Any]], Any], list[int]]:
        from torch._functorch import config as functorch_config

        inductor = _Inductor(self.target.options)
        sizes = [self.target.size + 3 + 2 * i for i in range(self.target.rows)]
        rows, coefficients = self._rows(sizes), self._numbers()
        # that cache would skip the function `_Inductor` waits for; inductor's own stays on
        with functorch_config.patch(enable_autograd_cache=False):
            for tensor in (tensor for row in rows for tensor in row):
                torch._dynamo.mark_dynamic(tensor, 0)
            compiled = torch.compile(step, backend=inductor, fullgraph=True)
            compiled(_columns(rows), coefficients)
        if inductor.made is None:
            raise CompilationError("torch.compile is switched off")
        given = _flatten(rows, coefficients)
        return inductor.made, [_place(value, given) for value in inductor.inputs]

    def _check(self, step: Step) -> None:
        """Raise CompilationError unless the kernel does what its source says."""
        rows, coefficients = (
            self._rows([2 + 5 * i for i in range(self.target.rows)]),
            self._numbers(),
        )
        wanted = [tuple(tensor.clone() for tensor in row) for row in rows]
        step(_columns(wanted), coefficients)
        self._run(rows, coefficients)
        for found, value in zip(sum(rows, ()), sum(wanted, ()), strict=True):
            if not torch.allclose(found, value, rtol=1e-3, atol=1e-3, equal_nan=True):
                raise CompilationError("the compiled step differs from its source")

    def _numbers(self) -> Tensor:
        values = 0.25 + torch.rand(self._coefficients, generator=self._random) / 2
        return values.to(self.target.device, self.target.dtype)

    def _rows(self, sizes: Sequence[int]) -> list[Row]:
        """Return rows of numbers to try a step on."""
        dtypes = [self.target.dtype] * self._width
        dtypes[1] = self.target.grad_dtype
        device, random = self.target.device, self._random
        return [
            tuple((0.5 + torch.rand(shape, generator=random)).to(device, d) for d in dtypes)
            for shape in (((n,) if self.target.whole else (n, LANES)) for n in sizes)
        ]


Step = Callable[[list[list[Tensor]], Tensor], None]
"""A step over columns: the parameters, their gradients, their buffers; then the coefficients."""

_OVER_COLUMNS = """

def _over_columns(columns, coefficients):
    for row in zip(*columns):
        {name}(*row, coefficients)
"""


def _load(text: str, name: str) -> Step:
    """Return the generated step as a function of its own, so that kernels share no cache entry."""
    text += _OVER_COLUMNS.format(name=name)
    namespace: dict[str, Any] = {}
    exec(compile(text, f"<optzoo {name}>", "exec"), namespace)
    step: Step = namespace["_over_columns"]
    return step


def _columns(rows: Sequence[Row]) -> list[list[Tensor]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _flatten(rows: Sequence[Row], coefficients: Tensor) -> list[Any]:
    flat: list[Any] = [coefficients]
    for row in rows:
        flat.append(row[0].shape[0])
        flat += row
    return flat


def _place(value: Any, given: Sequence[Any]) -> int:
    """Return which of the given values a graph input is; sizes and addresses are all different."""
    for place, other in enumerate(given):
        if isinstance(value, Tensor) != isinstance(other, Tensor):
            continue
        if value.data_ptr() == other.data_ptr() if isinstance(value, Tensor) else value == other:
            return place
    raise CompilationError("the compiled step has an input of unknown origin")


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
