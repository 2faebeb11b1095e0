"""Costs beside the arithmetic: building, Python per step, zero_grad, evaluation, state_dict.

Measured on many tiny tensors, where arithmetic is next to nothing, so that what is left is
overhead. Memory is counted in copies of the model, on tensors large enough to tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from optzoo.bench.contenders import TOTAL_STEPS, Place
from optzoo.bench.environment import describe_environment, load_average
from optzoo.bench.measure import Stopwatch, Timing, Work, peak_bytes, stopwatch_for, take_turns
from optzoo.bench.packages import YARDSTICK
from optzoo.bench.run import Settings, prepare, progress, threads
from optzoo.bench.shapes import count_elements
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.tables import align

TENSORS, SHAPE = 1_000, (8, 8)
LARGER = [(512, 512)] * 16  # where copies of the model are counted
MEASURES = ("build", "step", "zero_grad", "evaluation", "state_dict", "load_state_dict")
Build = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Overhead:
    """Seconds of each of `MEASURES` on 1,000 tensors, and copies of the model that each makes."""

    name: str
    timings: dict[str, Timing]
    copies: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "seconds": {name: timing.median for name, timing in self.timings.items()},
            "copies_of_the_model": self.copies,
        }


def run_overhead(
    settings: Settings, *, stopwatch: Stopwatch | None = None, stream: TextIO | None = None
) -> dict[str, Any]:
    """Measure the overhead of recipes under the engines, and of torch's AdamW beside.

    Raises InputError for bad settings.
    """
    field = prepare(settings)
    device = field.place.device
    small = Place([SHAPE] * TENSORS, settings.dtype, device)
    large = Place([*LARGER], settings.dtype, device)
    adamw = load_recipe(YARDSTICK.recipe)
    builds: dict[str, Build] = {
        YARDSTICK.name: lambda params: YARDSTICK.build(params, adamw, TOTAL_STEPS)
    }
    for recipe in field.recipes:
        for engine in field.engines:
            builds[f"{recipe.name} {engine}"] = _builder(recipe, engine)
    timer = stopwatch or stopwatch_for(device, settings.clock)
    with threads(settings.threads), progress(len(builds) * len(MEASURES), stream) as bar:
        environment = describe_environment(device, [])
        found = []
        for name, build in builds.items():
            timings = _time(build, small, settings, timer, lambda: bar.update(1))
            found.append(Overhead(name, timings, _copies(build, large)))
    environment["load"] = [load_average()]
    return {
        "environment": environment,
        "tensors": TENSORS,
        "shape": list(SHAPE),
        "rows": [overhead.to_json() for overhead in found],
    }


def _builder(recipe: Recipe, engine: str) -> Build:
    return lambda params: recipe.build(params, total_steps=TOTAL_STEPS, engine=engine)


def _works(build: Build, place: Place) -> dict[str, Work]:
    params = place.parameters()
    optimizer = build(params)
    optimizer.step()
    saved = optimizer.state_dict()
    grads = [param.grad for param in params]

    def zero_grad() -> None:
        optimizer.zero_grad()

    def step() -> None:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optimizer.step()

    def evaluation() -> None:
        with optimizer.evaluation():
            pass

    works: dict[str, Work] = {
        "build": lambda: _drop(build(params)),
        "step": step,
        "zero_grad": zero_grad,
        "evaluation": evaluation,
        "state_dict": lambda: _drop(optimizer.state_dict()),
        "load_state_dict": lambda: optimizer.load_state_dict(saved),
    }
    return {k: w for k, w in works.items() if k != "evaluation" or hasattr(optimizer, k)}


def _drop(_: object) -> None:
    """Let go of what was made."""


def _time(
    build: Build, place: Place, settings: Settings, stopwatch: Stopwatch, tick: Work
) -> dict[str, Timing]:
    timings: dict[str, Timing] = {}
    for name, work in _works(build, place).items():
        timings |= take_turns(
            {name: work},
            rounds=settings.rounds,
            steps=1,
            warmup=max(1, settings.warmup),
            stopwatch=stopwatch,
        )
        tick()
    return timings


def _copies(build: Build, place: Place) -> dict[str, float]:
    works = _works(build, place)
    works["step"]()
    model = count_elements(place.shapes) * place.parameters()[0].element_size()
    return {
        name: round(peak_bytes(work, place.device) / model, 2)
        for name, work in works.items()
        if name not in ("build", "step")
    }


def format_overhead(found: dict[str, Any]) -> str:
    """Return the table."""
    environment = found["environment"]
    rows, columns, height = found["shape"], found["tensors"], found["rows"]
    lines = [
        f"{columns:,} tensors of {rows[0]} x {rows[1]}; {environment['processor']}, load "
        f"{environment['load'][0]}; torch {environment['packages']['torch']}",
        "milliseconds (medians); in brackets, copies of the model held meanwhile",
    ]
    table = [["", *MEASURES]]
    for row in height:
        cells = [row["name"]]
        for name in MEASURES:
            seconds, copies = row["seconds"].get(name), row["copies_of_the_model"].get(name)
            note = "" if copies is None else f" [{copies:g}]"
            cells.append("-" if seconds is None else f"{1e3 * seconds:.3g}{note}")
        table.append(cells)
    least = (29, *[17] * len(MEASURES))
    return "\n".join([*lines, *align(table, "<>", gap=1, least=least)])
