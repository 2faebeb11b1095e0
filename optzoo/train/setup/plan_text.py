"""A plan, and a setup with its sources, as text for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from optzoo.tables import align, format_hours, format_size
from optzoo.train.setup.provenance import source_of
from optzoo.train.setup.schema import Setup


def render_plan(plan: dict[str, Any]) -> str:
    """Return the text of `optzoo train --dry-run`."""
    lines = [f"{plan['recipe']} on setup {plan['setup']}: a plan; nothing is written", ""]
    sections = {
        "optimizer": _optimizer(plan),
        "model": _model(plan),
        "budget": _budget(plan),
        "lr": _rates(plan),
        "FLOPs": _flops(plan),
        "memory": _memory(plan),
        "time": _hours(plan),
        "data": _data(plan),
    }
    for title, text in sections.items():
        for i, line in enumerate(text):
            lines.append(f"{'' if i else title:<11}{line}".rstrip())
    return "\n".join([*lines, "", *_fields(plan)])


def _optimizer(plan: dict[str, Any]) -> Iterator[str]:
    yield ", ".join(f"{name}={_plain(value)}" for name, value in plan["hyperparameters"].items())
    for row in plan["routes"]:
        settings = ", ".join(f"{name}={text}" for name, text in row["set"].items())
        yield f"{row['takes']}: {row['rule']}" + (f" ({settings})" if settings else "")


def _model(plan: dict[str, Any]) -> Iterator[str]:
    p = plan["parameters"]
    yield f"{p['total']:,} parameters, {p['non_embedding']:,} of them non-embedding"
    yield f"(norms {p['norms']:,}, embedding {p['embedding']:,}, head {p['head']:,})"


def _budget(plan: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{plan['tokens']:,} tokens in {plan['steps']:,} steps of {plan['tokens_per_step']:,} "
        f"({plan['micro_batches']} micro-batch{'es' if plan['micro_batches'] > 1 else ''} each)"
    )
    yield f"{plan['tokens_per_parameter']:.1f} tokens per parameter, embedding left out"


def _rates(plan: dict[str, Any]) -> Iterator[str]:
    schedule = plan["schedule"]
    yield f"{schedule['kind']}, after a warmup of {schedule['warmup_steps']:,} steps"
    points = (f"{point['lr']:.3g} at step {point['step']:,}" for point in schedule["milestones"])
    yield ", ".join(points)


def _flops(plan: dict[str, Any]) -> Iterator[str]:
    yield f"{plan['flops']:.3g}: {plan['flops_per_token']:.4g} per token"
    yield f"= {plan['formulas']['flops_per_token']} (attention without its causal half)"


def _memory(plan: dict[str, Any]) -> Iterator[str]:
    parts = dict(plan["memory_bytes"])
    total = parts.pop("total")
    yield f"about {format_size(total)} where one device holds the model, eager"
    named = (
        f"{name.replace('_', ' ')} {format_size(size)}" for name, size in parts.items() if size
    )
    yield ", ".join(named)
    most = "at most " if plan["routes"] else ""
    yield f"(the optimizer keeps {most}{plan['optimizer_tensors']} float32 tensors per parameter)"


def _hours(plan: dict[str, Any]) -> Iterator[str]:
    if not plan["hours"]:
        yield "unknown: there is no table of CPU peaks (`--hardware h100` shows one of its devices)"
    for row in plan["hours"]:
        yield (
            f"{format_hours(row['hours']):<12}{row['hardware']:<10} at {row['mfu']:.0%} of "
            f"{row['peak_teraflops']:g} TFLOP/s ({row['source']})"
        )


def _data(plan: dict[str, Any]) -> Iterator[str]:
    data = plan["data"]
    yield f"{data['corpus']}: {data['status']}"
    yield f"vocabulary {data['vocabulary']:,}"
    if data["command"]:
        yield f"prepare it with  {data['command']}"


def _fields(plan: dict[str, Any]) -> Iterator[str]:
    others = tuple(f"recipes.{name}." for name in _recipes(plan) if name != plan["recipe"])
    rows = [row for row in plan["fields"] if not row["field"].startswith(others)]
    if not any(row["mark"] for row in rows):
        yield "fields of the setup, which is optzoo's or yours and not the paper's"
    else:
        yield "fields of the setup: stated by the paper, in its authors' public code, or assumed"
    columns = [
        (row["field"], _plain(row["value"]), row["mark"] or "", row["where"] or "") for row in rows
    ]
    yield from align(columns)


def _recipes(plan: dict[str, Any]) -> set[str]:
    return {f["field"].split(".")[1] for f in plan["fields"] if f["field"].startswith("recipes.")}


def annotated_yaml(setup: Setup) -> str:
    """Return a setup's whole YAML with the source of each field as a comment behind it."""
    lines: list[tuple[str, str]] = [(f"name: {setup.name}", "")]
    lines += _yaml_lines(setup.values(), setup.sources, "")
    width = max((len(text) for text, source in lines if source), default=0)
    return "\n".join(f"{text:<{width}}  # {note}" if note else text for text, note in lines) + "\n"


def _yaml_lines(
    values: dict[str, Any], sources: dict[str, str], prefix: str
) -> Iterable[tuple[str, str]]:
    indent = "  " * prefix.count(".")
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:", ""
            yield from _yaml_lines(value, sources, path + ".")
        else:
            yield f"{indent}{name}: {_plain(value)}", source_of(path, sources) or ""


def _plain(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and value and yaml.safe_load(value) == value:
        return value
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    )
