"""What is measured: an optimizer with parameters of its own, and a copy to compare memory with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from optzoo.bench.packages import Counterpart, SideBySide
from optzoo.bench.shapes import Shapes
from optzoo.interpreters.cost import Cost, Storage
from optzoo.recipe.recipe import Recipe

TOTAL_STEPS = 10_000
"""T, for recipes that mention it."""

COPY_LIMIT = 1 << 28  # bytes of one side of the measured copy: far beyond any cache


@dataclass(frozen=True)
class Place:
    """Where and in what dtype parameters live."""

    shapes: Shapes
    dtype: str
    device: str

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return parameters with gradients; the same numbers every time."""
        generator = torch.Generator().manual_seed(0)
        made = []
        for shape in self.shapes:
            dtype = getattr(torch, self.dtype)
            values, slopes = (torch.randn(shape, generator=generator) for _ in range(2))
            param = torch.nn.Parameter((0.02 * values).to(self.device, dtype))
            param.grad = (1e-3 * slopes).to(self.device, dtype)
            made.append(param)
        return made


@dataclass
class Contender:
    """An optimizer at work; `counts` is the storage that its bytes are counted with."""

    name: str
    kind: str  # engine | package | yardstick
    optimizer: Optimizer | SideBySide
    cost: Cost
    params: list[torch.nn.Parameter]

    def __post_init__(self) -> None:
        self.grads = [param.grad for param in self.params]

    def step(self) -> None:
        """Take a step; gradients that the last one took away are there again."""
        for param, grad in zip(self.params, self.grads, strict=True):
            param.grad = grad
        self.optimizer.step()

    @property
    def storage(self) -> Storage:
        """The dtypes of parameters, gradients and state, as they are in memory."""
        param, grad = self.params[0], self.grads[0]
        assert grad is not None
        state = self.optimizer.state[param]
        tensors = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.dim() > 0}
        own = _dtype(param)
        keys = {label.removesuffix(".prev"): label for label in self.cost.buffers}
        if self.kind == "engine":
            buffers = {keys[k]: _dtype(v) for k, v in tensors.items() if k in keys}
            beside = [_dtype(v) for k, v in tensors.items() if k not in keys]
            return Storage(own, _dtype(grad), own, buffers, beside[0] if beside else None)
        return Storage(own, _dtype(grad), own)

    @property
    def step_bytes(self) -> int:
        """Bytes per parameter that the method must move with these dtypes."""
        return self.cost.step_bytes(self.storage)

    @property
    def state_bytes(self) -> float:
        """Bytes of state per parameter, as allocated; single numbers left out."""
        states = (self.optimizer.state[p].values() for p in self.params)
        tensors = [v for values in states for v in values if isinstance(v, Tensor) and v.dim() > 0]
        return sum(t.nbytes for t in tensors) / sum(p.numel() for p in self.params)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def engine_contender(recipe: Recipe, engine: str, place: Place, cost: Cost) -> Contender:
    """Return a recipe under one of our engines."""
    params = place.parameters()
    optimizer = recipe.build(params, total_steps=TOTAL_STEPS, engine=engine)
    return Contender(f"optzoo {engine}", "engine", optimizer, cost, params)


def package_contender(
    counterpart: Counterpart, recipe: Recipe, place: Place, cost: Cost, kind: str = "package"
) -> Contender:
    """Return another package's optimizer."""
    params = place.parameters()
    optimizer = counterpart.build(params, recipe, TOTAL_STEPS)
    return Contender(counterpart.name, kind, optimizer, cost, params)


def failure(counterpart: Counterpart, recipe: Recipe, place: Place, cost: Cost) -> str | None:
    """Return why a package's optimizer cannot be measured, found out on one small tensor."""
    small = Place([(4, 4)], place.dtype, place.device)
    try:
        package_contender(counterpart, recipe, small, cost).step()
    except Exception as error:  # whatever another package raises
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


class Copy:
    """A plain copy that moves as many bytes as a step, half read and half written."""

    def __init__(self, total_bytes: int, device: str) -> None:
        size = max(1, min(total_bytes // 2, COPY_LIMIT) // 4)
        self.source = torch.ones(size, device=device)
        self.target = torch.zeros(size, device=device)

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return 8 * self.source.numel()

    def step(self) -> None:
        """Copy."""
        self.target.copy_(self.source)
