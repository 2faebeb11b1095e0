"""A ranking as one HTML page that opens offline: verdict, figures, tables, and where they are from.

The template, the style and the script lie in `page/` beside this file and end up in the page
itself; it loads nothing. The tables are plain HTML, the script draws the figures and sorts.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optzoo import __version__
from optzoo.comparison.evidence import (
    RunFacts,
    commands_of,
    differing_settings,
    faults_of,
    read_facts,
    sample_of,
    sum_up,
)
from optzoo.comparison.plotted import coefficients_json, curves_json, sensitivity_json
from optzoo.comparison.ranking import MethodResult, Ranking, rank
from optzoo.comparison.records import Gathered, gather
from optzoo.comparison.statistics import LEVEL, MeanDifference, Test
from optzoo.comparison.table import format_p, memory_text, name_tests, noise_text, ranking_json
from optzoo.errors import Diagnostic, InputError
from optzoo.files.atomic import write_durably
from optzoo.files.drawing import COLOURS
from optzoo.sweeps.folder import SweepFolder, is_sweep_folder, open_sweep
from optzoo.sweeps.grid import shown_value
from optzoo.tables import format_clock, format_count
from optzoo.train.runs.comparison import compare_runs

PAGE = Path(__file__).parent / "page"
MARK = '<meta name="generator" content="optzoo report">'
"""What tells a page of ours, which may be written over, from anything else."""
DASHES = ("", "8 4", "2 3", "9 3 2 3")
"""As many as have no factor in common with the colours, so that 28 lines differ in both."""
STRIP = (180.0, 8.0)
"""Width of the small figure of the verdict, and its margin."""
FORMAT_VERSION = 1


def write_report(paths: Sequence[Path], out: Path, baseline: str | None = None) -> list[str]:
    """Write the page of runs and sweeps; return its warnings.

    A page that this has written is replaced. Raises InputError for what cannot be compared, for a
    file that is something else, and where none can be written.
    """
    _refuse_other(out)
    sweeps = [open_sweep(path) for path in paths if is_sweep_folder(path)]
    words = ["optzoo", "report", *map(str, paths), "--out", str(out)]
    command = shlex.join(words + (["--baseline", baseline] if baseline else []))
    text, warnings = format_report(gather(paths), baseline, sweeps=sweeps, command=command)
    try:
        write_durably(out, text.encode())
    except OSError as error:
        message = f"`{out}` cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("unwritable", message)) from None
    return warnings


def _refuse_other(out: Path) -> None:
    try:
        with out.open("rb") as file:
            is_ours = MARK.encode() in file.read(1024)
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"`{out}` cannot be written: {error.strerror}"
        raise InputError(
            Diagnostic("unwritable", message, hint="name a file: `--out FILE`")
        ) from None
    if not is_ours:
        message = f"`{out}` exists, and is no page of `optzoo report`"
        raise InputError(Diagnostic("exists", message, hint="choose another `--out`"))


def format_report(
    gathered: Gathered,
    baseline: str | None = None,
    *,
    sweeps: Sequence[SweepFolder] = (),
    command: str,
) -> tuple[str, list[str]]:
    """Return the page, and its warnings.

    `sweeps` are those that the records are from, `command` is what the page says it is made by. The
    same folders give the same text.
    """
    ranking = rank(gathered, baseline)
    facts, unreadable = read_facts(gathered.records)
    in_sweeps = {task.run for sweep in sweeps for task in sweep.tasks}
    single = [found for path, found in facts.items() if path not in in_sweeps]
    apart = compare_runs([found.path for found in single])[1] if single else []
    warnings = [*ranking.warnings, *apart, *unreadable]
    values = {
        "version": __version__,
        "mark": MARK,
        "title": ", ".join(sweep.spec.name for sweep in sweeps) or _count(len(single), "run"),
        "sweeps": sweeps,
        "command": command,
        "commands": commands_of(sweeps, single),
        "ranking": ranking,
        "level": LEVEL,
        "verdict": list(verdict(ranking)),
        "tests": name_tests(_tests(ranking)),
        "warnings": warnings,
        "strips": _strips(ranking),
        "has": _columns(ranking),
        "looks": _looks(ranking),
        "names": list(
            dict.fromkeys(n for m in ranking.methods for s in m.settings for n, _ in s.values)
        ),
        "differing": differing_settings(ranking, facts),
        "faults": faults_of(sweeps, gathered.records),
        "facts": facts,
        "shared": sum_up(facts),
        "sample": _sample(ranking),
        "data": _data(ranking, facts),
        "style": (PAGE / "page.css").read_text(encoding="utf-8"),
        "scripts": [(PAGE / name).read_text(encoding="utf-8") for name in ("charts.js", "page.js")],
    }
    return _render(values), warnings


def _render(values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,  # names, reasons and samples come from files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {
        "p": format_p,
        "count": format_count,
        "clock": format_clock,
        "memory": memory_text,
        "noise": noise_text,
        "value": shown_value,
    }
    return environment.get_template("page.html.j2").render(values)


def _data(ranking: Ranking, facts: Mapping[Path, RunFacts]) -> dict[str, Any]:
    """Return what the figures are drawn from, and the ranking as `compare --json` has it."""
    return {
        "format_version": FORMAT_VERSION,
        "ranking": _finite(ranking_json(ranking)),
        "looks": _looks(ranking),
        "curves": curves_json(ranking),
        "sensitivity": sensitivity_json(ranking),
        "coefficients": coefficients_json(ranking, facts),
    }


def _finite(value: Any) -> Any:
    """Return JSON values in which numbers that JSON does not have are text."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _columns(ranking: Ranking) -> dict[str, bool]:
    """Say which columns of the verdict have something in them."""
    best = [m.best for m in ranking.methods if m.best is not None]
    others = [m for m in ranking.methods if m.method != ranking.baseline]
    tests = _tests(ranking)
    return {
        "others": bool(others),
        "difference": any(m.to_baseline is not None for m in others),
        "spread": any(setting.summary and setting.summary.count > 1 for setting in best),
        "test": bool(tests),
        "tested_leader": bool(best) and len(best[0].losses) > 1,
        "tests": len(tests) > 1,
        "tokens": any(m.tokens_to_baseline is not None for m in others),
        "speed": any(r.tokens_per_second for setting in best for r in setting.records),
        "memory": any(memory_text(setting) for setting in best),
        "noise": any(noise_text(setting) for setting in best),
        "diverged": any(m.diverged for m in ranking.methods),
    }


def _looks(ranking: Ranking) -> dict[str, dict[str, Any]]:
    """Return colour and dash of each method; black stands for whatever text has."""
    colours = ["currentColor" if colour == "#000000" else colour for colour in COLOURS]
    return {
        m.method: {"colour": colours[i % len(colours)], "dash": DASHES[i % len(DASHES)]}
        for i, m in enumerate(ranking.methods)
    }


def _sample(ranking: Ranking) -> tuple[Path, str] | None:
    leader = ranking.methods[0].best
    return None if leader is None else sample_of(leader)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _tests(ranking: Ranking) -> set[Test]:
    """Return which tests were made of differences to the baseline."""
    found = [m.to_baseline for m in ranking.methods if m.method != ranking.baseline]
    return {apart.test for apart in found if apart is not None and apart.p is not None}


# ----------------------------------------------------------------- verdict


def verdict(ranking: Ranking) -> Iterator[str]:
    """Yield what the ranking says, in sentences."""
    leader = ranking.methods[0]
    if leader.best is None or leader.best.summary is None:
        yield "No method has a setting all of whose runs stayed finite: there is no verdict."
        return
    found = leader.best.summary
    spread = (
        ""
        if found.std is None
        else f", standard deviation {found.std:.4f} over {found.count} seeds"
    )
    values = f", with {leader.best.text}" if leader.best.values else ""
    yield (
        f"{leader.method} has the lowest held-out loss: {found.mean:.4f} nats per token{spread}"
        f"{values}."
    )
    if len(ranking.methods) > 1:
        yield _within_noise(ranking, leader)
    apart = leader.to_baseline
    if apart is not None and leader.method != ranking.baseline:
        yield f"Against {ranking.baseline}, the baseline, it differs by {_apart(apart)}."


def _within_noise(ranking: Ranking, leader: MethodResult) -> str:
    with_best = [m for m in ranking.methods if m.best is not None and m is not leader]
    tied = [m.method for m in with_best if m.is_among_best]
    assert leader.best is not None
    if leader.best.summary is None or leader.best.summary.count < 2:
        each = all(len(m.best.losses) < 2 for m in with_best if m.best is not None)
        what = (
            "One seed each: none of the differences" if each else "It has one seed: no difference"
        )
        return f"{what} can be told from chance."
    if not with_best:
        return "No other method has a setting to compare it with."
    if not tied:
        return f"It is ahead of every other method by more than noise (p < {LEVEL:g})."
    single = any(len(m.best.losses) < 2 for m in with_best if m.best is not None)
    why = f"p at least {LEVEL:g}" + (", or one seed, which is no test" if single else "")
    return f"Within noise of it ({why}): {', '.join(tied)}."


def _apart(found: MeanDifference) -> str:
    if found.p is None:
        return f"{found.mean:+.4f}, which cannot be tested"
    return (
        f"{found.mean:+.4f} ± {found.error:.4f} (p {format_p(found.p)}, {name_tests([found.test])})"
    )


def _strips(ranking: Ranking) -> dict[str, dict[str, Any]]:
    """Return for each method where its seeds, its mean and its error lie on one line for all."""
    best = {m.method: m.best for m in ranking.methods if m.best is not None}
    losses = [loss for setting in best.values() for loss in setting.losses.values()]
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    width, margin = STRIP

    def place(loss: float) -> float:
        share = (loss - low) / (high - low) if high > low else 0.5
        return round(margin + share * (width - 2 * margin), 2)

    strips = {}
    for method, setting in best.items():
        assert setting.summary is not None
        mean, error = setting.summary.mean, setting.summary.error or 0.0
        seeds = [place(loss) for loss in setting.losses.values()]
        ends = [place(mean - error), place(mean + error)]
        strips[method] = {"mean": place(mean), "error": ends, "seeds": seeds}
    return strips
