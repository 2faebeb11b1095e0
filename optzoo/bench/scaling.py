"""Time against the number of parameters: is it linear?"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TextIO

from optzoo.bench.contenders import engine_contender, main_cost, package_contender
from optzoo.bench.environment import check_room, describe_environment, load_average
from optzoo.bench.measure import Stopwatch, stopwatch_for, take_turns
from optzoo.bench.packages import YARDSTICK
from optzoo.bench.results import YARDSTICK_KIND
from optzoo.bench.run import Contest, Settings, prepare, progress, threads
from optzoo.interpreters.cost import Storage, cost
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.tables import align, format_count


def run_scaling(
    settings: Settings,
    sizes: Sequence[str],
    *,
    stopwatch: Stopwatch | None = None,
    stream: TextIO | None = None,
) -> dict[str, Any]:
    """Measure each recipe and engine at each size, beside torch's fused AdamW of the same size.

    Only two optimizers are in memory at a time. Raises InputError for bad settings and for sizes
    that do not fit.
    """
    fields = [prepare(replace(settings, params=size)) for size in sizes]
    first = fields[0]
    timer = stopwatch or stopwatch_for(first.place.device, settings.clock)
    turns = 2 * (1 + settings.rounds) * len(first.recipes) * len(first.engines) * len(sizes)
    rows = []
    with threads(settings.threads) as count, progress(turns, stream) as bar:
        environment = describe_environment(first.place.device, [])
        for recipe in first.recipes:
            for engine in first.engines:
                points = []
                for field in fields:
                    bar.set_description_str(f"{recipe.name} {format_count(field.params)}")
                    points.append(_point(recipe, engine, field, settings, timer, bar))
                rows.append({"recipe": recipe.name, "engine": engine, "points": points})
    environment["load"] = [load_average()]
    return {"environment": environment, "threads": count, "rows": rows}


def _point(
    recipe: Recipe, engine: str, field: Contest, settings: Settings, timer: Stopwatch, bar: Any
) -> dict[str, Any]:
    place = field.place
    bill, _ = main_cost(recipe, place.shapes)
    adamw = load_recipe(YARDSTICK.recipe)
    storage = Storage.usual(place.dtype)
    kept = storage.size("param") + storage.size("grad")
    check_room((2 * kept + bill.state_bytes(storage) + 8) * field.params, place.device)
    yardstick = package_contender(
        YARDSTICK, adamw, place, cost(adamw.trained_program()), YARDSTICK_KIND
    )
    contender = engine_contender(recipe, engine, place, bill)
    timings = take_turns(
        {yardstick.name: yardstick.step, contender.name: contender.step},
        rounds=settings.rounds,
        steps=settings.steps,
        warmup=settings.warmup,
        stopwatch=timer,
        tick=lambda: bar.update(1),
    )
    mine, theirs = timings[contender.name], timings[yardstick.name]
    share = contender.step_bytes / yardstick.step_bytes / mine.ratio(theirs)
    del yardstick, contender
    gc.collect()
    return {
        "params": field.params,
        "seconds": mine.median,
        "quartiles": list(mine.quartiles),
        "nanoseconds_per_parameter": 1e9 * mine.median / field.params,
        "adamw_fused_nanoseconds_per_parameter": 1e9 * theirs.median / field.params,
        "share_of_adamw_fused": share,
    }


def format_scaling(found: dict[str, Any]) -> str:
    """Return the table: nanoseconds per parameter, which linear time keeps constant."""
    environment = found["environment"]
    lines = [
        f"{environment['processor']}, threads: {found['threads']}, load {environment['load'][0]}; "
        f"torch {environment['packages']['torch']}",
        "nanoseconds per parameter (median); linear time keeps it constant. / AdamW: GB/s over "
        "torch's fused AdamW's",
    ]
    rows = [
        (
            f"{row['recipe']} {row['engine']}",
            format_count(point["params"]),
            f"{point['nanoseconds_per_parameter']:.3g}",
            f"{point['adamw_fused_nanoseconds_per_parameter']:.3g}",
            f"{point['share_of_adamw_fused']:.2f}",
        )
        for row in found["rows"]
        for point in row["points"]
    ]
    heads = ("", "parameters", "ns/parameter", "AdamW fused", "/ AdamW")
    return "\n".join([*lines, *align([heads, *rows], "<>", gap=3, least=(29,))])
