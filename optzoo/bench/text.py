"""A benchmark's findings as text."""

from __future__ import annotations

from typing import Any

from optzoo.bench.results import COPY, YARDSTICK_KIND, Group, Report, Result
from optzoo.tables import align

_HEAD = ("", "ms/step", "quartiles", "GB/s", "/ copy", "/ AdamW", "start-up s", "extra MB")
_WIDTHS = (33, 9, 17, 8, 7, 8, 11, 9)


def format_report(report: Report) -> str:
    """Return the settings, a table for each recipe, and what the columns mean."""
    parts = [_preamble(report.environment, report.settings)]
    if report.skipped:
        parts.append(f"skipped, not installed: {', '.join(report.skipped)}")
    parts += [format_group(group) for group in report.groups]
    place = report.settings["device"]
    counted = "the allocator's peak" if place == "cuda" else "counted by torch's profiler"
    parts.append(
        "ms/step, quartiles: over rounds. GB/s: the bytes that the method must move, over the "
        "median time.\n"
        "/ copy, / AdamW: those GB/s over the copy's and over torch's fused AdamW's, which moves "
        "its own bytes;\n"
        "medians of the ratios within a round. start-up: what the warm-up took beyond its steps "
        "(compiling).\n"
        f"extra: memory held in a step beyond parameters, gradients and state, {counted}."
    )
    return "\n\n".join(parts)


def _preamble(environment: dict[str, Any], settings: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    load = environment["load"]
    busy = f", load {load[0]} at the start and {load[1]} at the end" if load else ""
    return (
        f"{settings['params']:,} parameters in {settings['tensors']} tensors, {settings['dtype']}, "
        f"{settings['device']}, threads: {settings['threads']}, clock: {settings['clock']}; "
        f"{settings['rounds']} rounds of {settings['steps']} steps after {settings['warmup']}\n"
        f"{environment['processor']}, {environment['cores']} cores{busy}; "
        f"Python {environment['python']}, {packages}"
    )


def format_group(group: Group) -> str:
    """Return the table of one recipe and how its engines compare with each package."""
    engine = group.some("engine")[0]
    passes = "one pass" if group.passes == 1 else f"{group.passes} passes"
    lines = [
        f"{group.recipe}: a step moves {engine.moved / group.params:g} bytes a parameter in "
        f"{passes}, {group.flops} operations; state {engine.state_bytes:g} bytes",
    ]
    rows = [_HEAD, *(_cells(group, row) for row in group.rows)]
    lines += align(rows, "<>", gap=1, least=_WIDTHS)
    lines += [f"  {note}" for note in group.notes]
    if not group.some("package"):
        lines.append("  no counterpart among the packages asked for")
    for row in group.some("engine"):
        for name, times in group.speedups(row).items():
            lines.append(f"  {row.name}: {times:.2f} times as fast as {name}")
    return "\n".join(lines)


def _cells(group: Group, row: Result) -> tuple[str, ...]:
    low, high = (f"{1e3 * s:.4g}" for s in row.timing.quartiles)
    plain = row.kind == COPY
    return (
        row.name,
        f"{1e3 * row.timing.median:.4g}",
        f"{low} - {high}",
        f"{row.rate:.3g}",
        f"{100 * group.share_of(row, COPY):.0f}%",
        "" if plain else f"{group.share_of(row, YARDSTICK_KIND):.2f}",
        "" if plain else f"{row.timing.startup:.2f}",
        "" if plain else f"{row.extra_bytes / 1e6:.1f}",
    )
