"""A ranking as a table: text, CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import optzoo
from optzoo.comparison.ranking import MethodResult, Ranking, Setting
from optzoo.comparison.statistics import MeanDifference
from optzoo.tables import align, format_count, format_size

HEADS = (
    *("method", "best setting", "seeds", "loss", "+-", "difference", "+-", "p", "test"),
    *("tokens to baseline", "tokens/s", "memory", "noise scale", "diverged"),
)

FIRST_TO_GO = ("noise scale", "memory", "tokens/s", "tokens to baseline", "seeds", "p")
"""Columns that a narrow table does without, the first one first."""


def format_ranking(ranking: Ranking, width: int | None = None) -> str:
    """Return the table as text, with what its marks mean; no wider than `width` if that can be."""
    rows = [_row(method, ranking) for method in ranking.methods]
    tests = {row[HEADS.index("test")] for row in rows} - {""}
    told = {"test"} if len(tests) < 2 else set()  # in the legend, where it is one for all
    shown = [
        i
        for i, head in enumerate(HEADS)
        if head not in told and (i < 4 or any(row[i] not in ("", "-") for row in rows))
    ]
    lines = _aligned(rows, shown)
    gone = []
    for i in map(HEADS.index, FIRST_TO_GO):
        if width is not None and i in shown and max(map(len, lines)) > width:
            shown.remove(i)
            gone.append(HEADS[i])
            lines = _aligned(rows, shown)
    lines.append("")
    if gone:
        lines.append(f"  left out for want of room: {', '.join(gone)}")
    lines.append(f"  loss: held-out, nats per token; difference: to {ranking.baseline}")
    if "noise scale" not in gone and any(
        noise_text(m.best) for m in ranking.methods if m.best is not None
    ):
        lines.append("  noise scale: tokens in a batch below which noise dominates the gradient")
    if any(m.best is not None and len(m.best.records) > 1 for m in ranking.methods):
        lines.append(f"  +-: standard error over seeds; p: two-sided, {name_tests(tests)}")
        lines.append("  *: within noise of the best (p >= 0.05 against it)")
    return "\n".join([*lines, *_claims(ranking)])


def _aligned(rows: Sequence[Sequence[str]], shown: Sequence[int]) -> list[str]:
    table = [[row[i] for i in shown] for row in (HEADS, *rows)]
    sides = "".join("<" if HEADS[i] in ("method", "best setting", "test") else ">" for i in shown)
    return align(table, sides)


def name_tests(found: Collection[str]) -> str:
    """Say in words which tests were made."""
    names = {"paired": "Student's test paired by seed", "welch": "Welch's test"}
    return " or ".join(names[test] for test in sorted(found)) or "not tested"


def _claims(ranking: Ranking) -> list[str]:
    """Return what the seeds say of each claim."""
    if not ranking.claims:
        return []
    rows = [
        (c.word, c.claim, "" if c.difference is None else _apart(c.difference))
        for c in ranking.claims
    ]
    return ["", "  claims:", *align(rows, indent=4)]


def _apart(found: MeanDifference) -> str:
    error = "" if found.error is None else f" +- {found.error:.4f}"
    return f"{found.mean:+.4f}{error}" + ("" if found.p is None else f", p {format_p(found.p)}")


def format_p(p: float) -> str:
    """Return a p-value to four digits."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _row(method: MethodResult, ranking: Ranking) -> list[str]:
    best = method.best
    if best is None or best.summary is None:
        return [method.method, "-", "-", "-", *[""] * 9, f"{method.diverged}/{method.runs}"]
    mark = "*" if method.is_among_best and len(best.records) > 1 else ""
    return [
        method.method,
        best.text,
        f"{len(best.records)}",
        f"{best.summary.mean:.4f}{mark}",
        _number(best.summary.error, "{:.4f}"),
        *_difference(method, ranking),
        _tokens(method, ranking),
        _number(_speed(best), "{:,.0f}"),
        memory_text(best),
        noise_text(best),
        f"{method.diverged}/{method.runs}" if method.diverged else "-",
    ]


def _difference(method: MethodResult, ranking: Ranking) -> list[str]:
    found = method.to_baseline
    if found is None or method.method == ranking.baseline:
        return ["", "", "", ""]
    p = "" if found.p is None else format_p(found.p)
    return [f"{found.mean:+.4f}", _number(found.error, "{:.4f}"), p, found.test if p else ""]


def _tokens(method: MethodResult, ranking: Ranking) -> str:
    if method.method == ranking.baseline or method.tokens_to_baseline is None:
        return ""
    assert method.best is not None
    share = method.tokens_to_baseline / method.best.records[0].tokens
    return f"{format_count(round(method.tokens_to_baseline))} ({share:.0%})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _speed(setting: Setting) -> float | None:
    speeds = [s for r in setting.records if (s := r.tokens_per_second) is not None]
    return math.fsum(speeds) / len(speeds) if speeds else None


def memory_text(setting: Setting) -> str:
    """Return the most memory that a run of the setting took; empty where none was measured."""
    found = [c.memory_bytes for c in setting.curves if c.memory_bytes is not None]
    return format_size(max(found)) if found else ""


def noise_text(setting: Setting) -> str:
    """Return the mean noise scale of the runs of a setting, in tokens; empty without any."""
    found = [c.noise_scale for c in setting.curves if c.noise_scale is not None]
    return format_count(round(math.fsum(found) / len(found))) if found else ""


# ------------------------------------------------------------------- data


def ranking_json(ranking: Ranking) -> dict[str, Any]:
    """Return the ranking as JSON values, every setting with its losses by seed."""
    return {
        "format_version": 1,
        "command": shlex.join(["optzoo", *sys.argv[1:]]),
        "optzoo": optzoo.__version__,
        "baseline": ranking.baseline,
        "warnings": list(ranking.warnings),
        "claims": [
            {"claim": c.claim, "found": c.word, "difference": _difference_json(c.difference)}
            for c in ranking.claims
        ],
        "methods": [
            {
                "method": m.method,
                "best": None if m.best is None else _setting_json(m.best),
                "is_among_best": m.is_among_best,
                "difference_to_baseline": _difference_json(m.to_baseline),
                "tokens_to_baseline_loss": m.tokens_to_baseline,
                "on_the_edge": dict(m.edges),
                "tokens_per_second": None if m.best is None else _speed(m.best),
                "runs": m.runs,
                "diverged": m.diverged,
                "settings": [_setting_json(setting) for setting in m.settings],
            }
            for m in ranking.methods
        ],
    }


def _setting_json(setting: Setting) -> dict[str, Any]:
    first = setting.records[0].result
    return {
        "recipe_digest": first.get("recipe_digest"),
        "data_fingerprint": first.get("corpus", {}).get("fingerprint"),
        "values": dict(setting.values),
        "hyperparameters": dict(setting.records[0].hyperparameters),
        "view": setting.records[0].view,
        "losses": {str(r.seed): r.loss for r in setting.records},
        "views": _by_view(setting),
        "runs": {str(r.seed): str(r.run) for r in setting.records},
        **({} if setting.summary is None else asdict(setting.summary)),
    }


def _by_view(setting: Setting) -> dict[str, float]:
    """Return the mean final loss at every view that all runs have."""
    found = [r.result["views"] for r in setting.records]
    shared = [view for view in found[0] if all(view in views for views in found)]
    return {
        v: math.fsum(views[v]["nats_per_token"] for views in found) / len(found) for v in shared
    }


def _difference_json(found: MeanDifference | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "within_noise": found.is_within_noise}


def ranking_csv(ranking: Ranking) -> str:
    """Return every run as a line of CSV: one row per method, setting and seed."""
    records = [(m, s, r) for m in ranking.methods for s in m.settings for r in s.records]
    names = list(dict.fromkeys(n for _, s, _ in records for n, _ in s.values))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fixed = ("nats_per_token", "bits_per_byte", "tokens", "seconds", "diverged", "run")
    writer.writerow(["method", "view", "seed", *names, *fixed])
    for method, setting, r in records:
        values = dict(setting.values)
        cells = [values.get(name, "") for name in names]
        loss = ["" if r.loss is None else repr(r.loss), r.bits_per_byte, r.tokens, r.seconds]
        writer.writerow([method.method, r.view, r.seed, *cells, *loss, r.loss is None, r.run])
    return file.getvalue()


def ranking_latex(ranking: Ranking) -> str:
    """Return the table for a paper (booktabs)."""
    heads = ("method", "best setting", "loss", f"difference to {ranking.baseline}", "$p$")
    lines = [
        r"% by optzoo compare --format latex; needs \usepackage{booktabs}",
        r"\begin{tabular}{llrrr}",
        r"\toprule",
        " & ".join(map(_escaped, heads[:4])) + f" & {heads[4]} \\\\",
        r"\midrule",
    ]
    lines += [_latex_row(method, ranking) for method in ranking.methods]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_row(method: MethodResult, ranking: Ranking) -> str:
    row = _row(method, ranking)
    loss = f"{row[3].rstrip('*')}" + (rf" $\pm$ {row[4]}" if row[4] else "")
    loss = rf"\textbf{{{loss}}}" if row[3].endswith("*") else loss
    apart = f"${row[5]}$" + (rf" $\pm$ {row[6]}" if row[6] else "") if row[5] else ""
    p = f"${row[7]}$" if row[7] else ""
    return " & ".join([_escaped(row[0]), _escaped(row[1]), loss, apart, p]) + r" \\"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {mark: "\\" + mark for mark in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)
