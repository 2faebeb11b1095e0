"""A benchmark from beginning to end: who takes part, turns, results."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from tqdm import tqdm

from optzoo.bench.contenders import (
    Contender,
    Copy,
    Place,
    engine_contender,
    failure,
    main_cost,
    package_contender,
)
from optzoo.bench.environment import check_room, choose_device, describe_environment, load_average
from optzoo.bench.measure import Stopwatch, cpu_stopwatch, peak_bytes, stopwatch_for, take_turns
from optzoo.bench.packages import (
    USUAL,
    YARDSTICK,
    Counterpart,
    check_packages,
    counterparts,
    is_installed,
)
from optzoo.bench.results import COPY, YARDSTICK_KIND, Group, Report, Result
from optzoo.bench.shapes import count_elements, equal_shapes, parse_count, transformer_shapes
from optzoo.engines.engine import ENGINES, engine_class
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.cost import BYTES, Storage, cost
from optzoo.recipe.recipe import Recipe, load_recipe

USUAL_RECIPES = (
    *("adamw", "ademamix", "simplified_ademamix", "mars", "schedule_free_adamw", "laprop", "lion"),
)
OVERHEAD_RECIPES = ("adamw", "schedule_free_adamw")
SLOW_ENGINES = ("reference",)  # plain Python: measured when named


@dataclass(frozen=True)
class Settings:
    """What to measure and how; None and `auto` are chosen for the machine."""

    recipes: Sequence[str] = USUAL_RECIPES
    engines: Sequence[str] | None = None
    against: Sequence[str] | None = None
    params: str = "30M"
    tensors: int | None = None
    dtype: str = "float32"
    state_dtype: str | None = None
    device: str = "auto"
    rounds: int = 15
    steps: int = 3
    warmup: int = 3
    threads: int | None = None
    clock: str = "wall"


@dataclass(frozen=True)
class Contest:
    """Settings looked up and checked: what takes part, and where."""

    recipes: list[Recipe]
    engines: list[str]
    packages: list[str]
    skipped: list[str]
    place: Place

    @property
    def params(self) -> int:
        """Parameters in all."""
        return count_elements(self.place.shapes)


def prepare(settings: Settings) -> Contest:
    """Look everything up. Raises InputError for what is unknown, absent or too large."""
    named = [load_recipe(name) for name in dict.fromkeys(settings.recipes)]
    recipes = [recipe.with_state_dtype(settings.state_dtype) for recipe in named]
    fast = [name for name in ENGINES if name not in SLOW_ENGINES]
    engines = list(dict.fromkeys(settings.engines or fast))
    for engine in engines:
        engine_class(engine)
    wanted = list(dict.fromkeys(USUAL if settings.against is None else settings.against))
    check_packages(wanted)
    if settings.dtype not in BYTES:
        hint = ", ".join(BYTES)
        message = f"`--dtype {settings.dtype}`: not a dtype of parameters"
        raise InputError(Diagnostic("bad-value", message, hint=hint))
    _check_clock(settings)
    params = parse_count(settings.params)
    few = settings.tensors
    shapes = transformer_shapes(params) if few is None else equal_shapes(params, few)
    place = Place(shapes, settings.dtype, choose_device(settings.device))
    installed = [name for name in wanted if is_installed(name)]
    return Contest(
        recipes, engines, installed, [name for name in wanted if name not in installed], place
    )


def _check_clock(settings: Settings) -> None:
    if settings.clock not in ("wall", "processor"):
        message = f"`--clock {settings.clock}`: no such clock"
        raise InputError(Diagnostic("bad-value", message, hint="wall or processor"))
    if settings.clock == "processor" and settings.threads != 1:
        message = "`--clock processor` adds up what all threads used"
        raise InputError(Diagnostic("bad-value", message, hint="pass `--threads 1` with it"))


def run_bench(
    settings: Settings, *, stopwatch: Stopwatch | None = None, stream: TextIO | None = None
) -> Report:
    """Measure every recipe with the engines and packages asked for, progress on stderr.

    Raises InputError for bad settings. `stopwatch` and `stream` are for tests.
    """
    field = prepare(settings)
    device = field.place.device
    timer = stopwatch or stopwatch_for(device, settings.clock)
    with threads(settings.threads) as count:
        environment = describe_environment(device, field.packages)
        load = [load_average()]
        turns = sum(2 + len(field.engines) + len(_rivals(r, field)) for r in field.recipes)
        groups = []
        with progress(turns * (1 + settings.rounds), stream) as bar:
            for recipe in field.recipes:
                bar.set_description_str(recipe.name)
                groups.append(_measure(recipe, field, settings, timer, bar))
        load.append(load_average())
    environment["load"] = [value for value in load if value is not None]
    used = {
        "params": field.params,
        "tensors": len(field.place.shapes),
        "dtype": settings.dtype,
        "device": device,
        "threads": count,
        "rounds": settings.rounds,
        "steps": settings.steps,
        "warmup": settings.warmup,
        "clock": settings.clock,
        "engines": field.engines,
    }
    return Report(environment, used, field.skipped, groups)


def _measure(
    recipe: Recipe, field: Contest, settings: Settings, stopwatch: Stopwatch, bar: Any
) -> Group:
    place = field.place
    bill, shares = main_cost(recipe, place.shapes)
    failures = {c: failure(c, recipe, place, bill) for c in _rivals(recipe, field)}
    rivals = [c for c, reason in failures.items() if reason is None]
    notes = [f"{c.name} fails here: {reason}" for c, reason in failures.items() if reason]
    notes += [shares] if shares else []
    storage = Storage.usual(place.dtype)
    kept = bill.state_bytes(storage) + storage.size("param") + storage.size("grad")
    check_room((2 + len(field.engines) + len(rivals)) * kept * field.params, place.device)
    adamw = load_recipe(YARDSTICK.recipe)
    adamw_cost = cost(adamw.trained_program())
    contenders = [package_contender(YARDSTICK, adamw, place, adamw_cost, YARDSTICK_KIND)]
    contenders += [engine_contender(recipe, engine, place, bill) for engine in field.engines]
    contenders += [package_contender(rival, recipe, place, bill) for rival in rivals]
    copy = Copy(bill.step_bytes(storage) * field.params, place.device)
    timings = take_turns(
        {COPY: copy.step, **{c.name: c.step for c in contenders}},
        rounds=settings.rounds,
        steps=settings.steps,
        warmup=settings.warmup,
        stopwatch=stopwatch,
        warmup_stopwatch=cpu_stopwatch if settings.clock == "processor" else None,
        tick=lambda: bar.update(1),
    )
    rows = [Result(COPY, COPY, timings[COPY], copy.moved)]
    rows += [_row(c, timings[c.name], field) for c in contenders]
    del contenders, copy
    gc.collect()
    return Group(recipe.name, field.params, bill.passes, bill.flops, rows, notes)


def _rivals(recipe: Recipe, field: Contest) -> list[Counterpart]:
    return [c for c in counterparts(recipe.name, field.packages) if c != YARDSTICK]


def _row(contender: Contender, timing: Any, field: Contest) -> Result:
    return Result(
        contender.name,
        contender.kind,
        timing,
        round(contender.step_bytes * field.params),
        contender.state_bytes,
        peak_bytes(contender.step, field.place.device),
    )


@contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Let torch use so many threads inside the block; yield how many it uses."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def progress(total: int, stream: TextIO | None) -> Iterator[Any]:
    """Yield a bar on stderr; where that is not a terminal, it shows nothing."""
    out = sys.stderr if stream is None else stream
    with tqdm(total=total, file=out, disable=not out.isatty(), leave=False) as bar:
        yield bar
