"""What a sweep would be: runs, tokens and GPU-hours, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from optzoo.sweeps.grid import Job, jobs_of, points_of
from optzoo.sweeps.schema import MethodSpec, SweepSpec
from optzoo.tables import align, format_count
from optzoo.train.setup.plan import make_plan


def plan_sweep(
    spec: SweepSpec, *, mfu: float = 0.4, hardware: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the plan as JSON values. Raises InputError for a setting that is not legal."""
    points = points_of(spec)
    jobs = jobs_of(points)
    plans = {job.key: _cost(job, mfu, hardware) for job in jobs}
    by_point = [plans[job.key] for job in jobs for _ in job.points]
    return {
        "sweep": spec.name,
        "summary": spec.summary,
        "setup": spec.setup,
        "runs": len(points),
        "trained": len(jobs),
        "seeds": list(spec.seeds),
        "methods": [_method(spec, method, jobs) for method in spec.methods],
        "tokens": sum(plan["tokens"] for plan in plans.values()),
        "tokens_without_observers": sum(plan["tokens"] for plan in by_point),
        "hours": _total(list(plans.values())),
        "hours_without_observers": _total(by_point),
        "mfu": mfu,
    }


def _cost(job: Job, mfu: float, hardware: Sequence[str]) -> dict[str, Any]:
    plan = make_plan(job.recipe, job.setup, mfu=mfu, hardware=hardware)
    hours = {row["hardware"]: row["hours"] for row in plan["hours"]}
    return {"tokens": plan["tokens"], "hours": hours}


def _total(plans: Sequence[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for plan in plans:
        for name, hours in plan["hours"].items():
            total[name] = total.get(name, 0.0) + hours
    return total


def _method(spec: SweepSpec, method: MethodSpec, jobs: Sequence[Job]) -> dict[str, Any]:
    mine = [job for job in jobs if any(point.method == method.label for point, _ in job.points)]
    return {
        "method": method.label,
        "recipe": method.recipe,
        "grid": {name: len(values) for name, values in method.grid.items()},
        "runs": sum(point.method == method.label for job in mine for point, _ in job.points),
        "trained": len(mine),
    }


def render_sweep_plan(plan: dict[str, Any]) -> str:
    """Return the text of `optzoo sweep FILE --dry-run`."""
    return "\n".join(_lines(plan))


def _lines(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['sweep']}: {_count(plan['runs'], 'run')} on setup {plan['setup']}"
    yield f"  {plan['summary']}"
    rows = [("method", "runs", "trained", "grid")]
    for method in plan["methods"]:
        cells = " x ".join(f"{name} {size}" for name, size in method["grid"].items() if size > 1)
        rows.append(
            (method["method"], f"{method['runs']}", f"{method['trained']}", cells or "one point")
        )
    yield from align(rows, "<>><")
    seeds = plan["seeds"]
    yield f"  seeds: {', '.join(map(str, seeds))}"
    saved = plan["runs"] - plan["trained"]
    if saved:
        yield (
            f"  observers measure every average of one trajectory: {plan['trained']} are trained, "
            f"{saved} saved"
        )
    without = plan["tokens_without_observers"]
    instead = f" ({format_count(without)} without observers)" if saved else ""
    yield f"  tokens: {format_count(plan['tokens'])}{instead}"
    if plan["hours"]:
        yield f"  GPU-hours at {plan['mfu']:.0%} of the peak: {_hours(plan['hours'])}"
    if plan["hours"] and saved:
        yield f"  without observers: {_hours(plan['hours_without_observers'])}"


def _hours(hours: dict[str, float]) -> str:
    return ", ".join(f"{name} {number:,.0f}" for name, number in hours.items())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
