"""What is measured: an optimizer with parameters of its own, and a copy to compare memory with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from optzoo.bench.packages import Counterpart, SideBySide
from optzoo.bench.shapes import Shapes
from optzoo.interpreters.cost import Cost, Storage, cost
from optzoo.optimizer.routing import routes
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
    """An optimizer at work; `costs` has one for each parameter where they take several rules."""

    name: str
    kind: str  # engine | package | yardstick
    optimizer: Optimizer | SideBySide
    cost: Cost
    params: list[torch.nn.Parameter]
    costs: Sequence[Cost] = ()

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
        return self._storage(0, self.costs[0] if self.costs else self.cost)

    def _storage(self, number: int, bill: Cost) -> Storage:
        param, grad = self.params[number], self.grads[number]
        assert grad is not None
        state = self.optimizer.state[param]
        tensors = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.dim() > 0}
        own = _dtype(param)
        keys = {label.removesuffix(".prev"): label for label in bill.buffers}
        if self.kind == "engine":
            buffers = {keys[k]: _dtype(v) for k, v in tensors.items() if k in keys}
            beside = [_dtype(v) for k, v in tensors.items() if k not in keys]
            return Storage(own, _dtype(grad), own, buffers, beside[0] if beside else None)
        return Storage(own, _dtype(grad), own)

    @property
    def step_bytes(self) -> float:
        """Bytes per parameter that the method must move with these dtypes."""
        if not self.costs:
            return self.cost.step_bytes(self.storage)
        moved = [
            bill.step_bytes(self._storage(i, bill)) * self.params[i].numel()
            for i, bill in enumerate(self.costs)
        ]
        return sum(moved) / sum(param.numel() for param in self.params)

    @property
    def state_bytes(self) -> float:
        """Bytes of state per parameter, as allocated; single numbers left out."""
        states = (self.optimizer.state[p].values() for p in self.params)
        tensors = [v for values in states for v in values if isinstance(v, Tensor) and v.dim() > 0]
        return sum(t.nbytes for t in tensors) / sum(p.numel() for p in self.params)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def engine_contender(recipe: Recipe, engine: str, place: Place, bill: Cost) -> Contender:
    """Return a recipe under one of our engines."""
    params = place.parameters()
    optimizer = recipe.build(params, total_steps=TOTAL_STEPS, engine=engine)
    costs = costs_of(recipe, place.shapes) if recipe.is_routed else ()
    return Contender(f"optzoo {engine}", "engine", optimizer, bill, params, costs)


def costs_of(recipe: Recipe, shapes: Shapes) -> list[Cost]:
    """Return what a step of each tensor costs: that of the rule which takes it, bare as it is.

    Raises InputError for a tensor that no route takes.
    """
    bills = {rule.label: cost(rule.trained_program()) for rule in recipe.rules}
    return [bills[row.rule] for row in routes(recipe, _bare(shapes))]


def main_cost(recipe: Recipe, shapes: Shapes) -> tuple[Cost, str]:
    """Return what a step costs by the rule that most elements take, and the shares as text."""
    if not recipe.is_routed:
        return cost(recipe.trained_program()), ""
    shares: dict[str, int] = {}
    for row in routes(recipe, _bare(shapes)):
        shares[row.rule] = shares.get(row.rule, 0) + row.size
    label = max(shares, key=shares.__getitem__)
    parts = (f"{100 * n / sum(shares.values()):.3g}% `{rule}`" for rule, n in shares.items())
    said = f"bare tensors go by their axes: {', '.join(parts)}; passes and operations of `{label}`"
    return cost(recipe.at(label).trained_program()), said


def _bare(shapes: Shapes) -> list[Tensor]:
    return [torch.empty(shape, device="meta") for shape in shapes]


def package_contender(
    counterpart: Counterpart, recipe: Recipe, place: Place, bill: Cost, kind: str = "package"
) -> Contender:
    """Return another package's optimizer."""
    params = place.parameters()
    optimizer = counterpart.build(params, recipe, TOTAL_STEPS)
    return Contender(counterpart.name, kind, optimizer, bill, params)


def failure(counterpart: Counterpart, recipe: Recipe, place: Place, bill: Cost) -> str | None:
    """Return why a package's optimizer cannot be measured, found out on one small tensor."""
    small = Place([(4, 4)], place.dtype, place.device)
    try:
        package_contender(counterpart, recipe, small, bill).step()
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
