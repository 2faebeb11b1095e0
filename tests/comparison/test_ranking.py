"""Ranking, tables and figures of made-up losses, by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optzoo.comparison.figures import draw_losses, draw_sensitivity
from optzoo.comparison.ranking import rank, tokens_to
from optzoo.comparison.records import Gathered, Measured, read_curve
from optzoo.comparison.statistics import difference
from optzoo.comparison.table import format_ranking, ranking_csv, ranking_json, ranking_latex
from optzoo.errors import InputError
from optzoo.sweeps.schema import ClaimSpec

LOSSES: dict[str, dict[tuple[tuple[str, Any], ...], Sequence[float | None]]] = {
    "A": {
        (("lr", 0.001),): (2.00, 2.10, 2.05),
        (("lr", 0.01),): (1.80, 1.91, 1.84),
        (("lr", 0.1),): (1.5, None, 1.5),
    },
    "B": {(("lr", 0.01), ("beta", 0.9)): (1.70, 1.80, 1.75)},
    "C": {(("lr", 0.01),): (1.71, 1.79, 1.76)},
    "D": {(("lr", 0.01),): (None, None, None)},
}
GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "A": {"lr": [0.001, 0.01, 0.1]},
    "B": {"lr": [0.001, 0.01], "beta": [0.9]},
}


def curve(folder: Path, end: float) -> None:
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"kind": "evaluation", "step": step, "tokens": 100 * step,
         "views": {"eval": {"nats_per_token": end + 3 - 3 * step / 10}}}
        for step in (0, 5, 10)
    ]  # fmt: skip
    lines += [{"kind": "step", "step": s, "tokens": 100 * s, "loss": end} for s in range(1, 11)]
    lines += [{"kind": "speed", "step": s, "tokens_per_second": 50.0 * s} for s in (5, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def gathered(path: Path, *claims: ClaimSpec) -> Gathered:
    records = []
    for method, settings in LOSSES.items():
        for values, losses in settings.items():
            for seed, loss in enumerate(losses):
                run = path / f"{method}-{len(records)}"
                curve(run, 9.0 if loss is None else loss)
                views = {} if loss is None else {"eval": {"nats_per_token": loss}}
                knobs = {"lr": 0.01, **dict(values)}
                records.append(
                    Measured(method, "adamw", values, knobs, seed, "eval", run, loss,
                             loss and loss / 0.693, 1000, 2.0, 10, {"views": views})
                )  # fmt: skip
    return Gathered(tuple(records), ("runs/x waiting",), "A", GRIDS, claims)


def test_methods_stand_at_their_best_whole_setting(tmp_path: Path) -> None:
    ranking = rank(gathered(tmp_path))
    assert [m.method for m in ranking.methods] == ["B", "C", "A", "D"]
    by_name = {m.method: m for m in ranking.methods}
    assert by_name["A"].best is not None
    assert by_name["A"].best.text == "lr=0.01"  # 0.1 is better where it did not diverge
    assert (by_name["A"].diverged, by_name["A"].runs) == (1, 9)
    assert by_name["D"].best is None
    assert by_name["B"].to_baseline == difference(
        {0: 1.70, 1: 1.80, 2: 1.75}, {0: 1.80, 1: 1.91, 2: 1.84}
    )
    assert [m.method for m in ranking.methods if m.is_among_best] == ["B", "C"]
    assert by_name["A"].edges == ()
    assert by_name["B"].edges == (("lr", 0.01),)
    said = " ".join(ranking.warnings)
    for part in ("1 runs are not finished", "B: the best lr is 0.01", "D: every setting", "fresh"):
        assert part in said


def test_another_baseline_and_one_that_is_not_there(tmp_path: Path) -> None:
    found = gathered(tmp_path)
    assert rank(found, "C").baseline == "C"
    with pytest.raises(InputError, match="`E` is not compared here"):
        rank(found, "E")


def test_a_seed_counts_once(tmp_path: Path) -> None:
    found = gathered(tmp_path)
    again = replace(found, records=(*found.records, replace(found.records[0], loss=0.1)))
    ranking = rank(again)
    assert ranking.methods[2].runs == 9
    assert "1 runs repeat a seed of their setting" in " ".join(ranking.warnings)
    fewer = rank(replace(found, records=found.records[:-4]))
    assert "different numbers of seeds" in " ".join(fewer.warnings)


def test_claims(tmp_path: Path) -> None:
    claims = [
        ClaimSpec(better="B", than="A"),
        ClaimSpec(better="A", than="B"),
        ClaimSpec(better="B", than="C"),
        ClaimSpec(same="B", as_="C"),
        ClaimSpec(same="A", as_="C"),
        ClaimSpec(better="A", than="D"),
    ]
    found = rank(gathered(tmp_path, *claims))
    words = ["shows", "reversed", "within noise", "shows", "differs", "unknown"]
    assert [c.word for c in found.claims] == words
    text = format_ranking(found)
    assert "reversed      A better than B" in text
    assert "+0.1000 +- 0.0058, p 0.0033" in text


def test_tokens_to_a_loss_are_between_evaluations(tmp_path: Path) -> None:
    ranking = rank(gathered(tmp_path))
    best = ranking.methods[0].best
    assert best is not None
    assert best.mean_curve == ([0, 500, 1000], pytest.approx([4.75, 3.25, 1.75]))
    assert tokens_to(best, 3.25) == 500
    assert tokens_to(best, 1.85) == pytest.approx(1000 - 500 * 0.1 / 1.5)
    assert tokens_to(best, 1.0) is None
    assert tokens_to(best, 9.0) == 0


def test_seconds_follow_the_measured_speeds(tmp_path: Path) -> None:
    """500 tokens at 250 a second, then 500 at 500."""
    found = read_curve(gathered(tmp_path).records[0])
    assert found is not None
    assert found.seconds == (0.0, 2.0, 3.0)
    assert found.memory_bytes is None


def test_the_table_is_the_json_by_hand(tmp_path: Path) -> None:
    ranking = rank(gathered(tmp_path))
    data = json.loads(json.dumps(ranking_json(ranking)))
    text = format_ranking(ranking)
    for method in data["methods"]:
        if method["best"] is None:
            continue
        losses = list(method["best"]["losses"].values())
        mean = sum(losses) / len(losses)
        assert mean == pytest.approx(method["best"]["mean"], rel=1e-12)
        row = next(line for line in text.splitlines() if line.split()[:1] == [method["method"]])
        assert f"{mean:.4f}" in row
        if method["method"] != "A":
            apart = mean - sum((1.80, 1.91, 1.84)) / 3
            assert f"{apart:+.4f}" in row
            assert f"{method['difference_to_baseline']['error']:.4f}" in row
    rows = list(csv.DictReader(io.StringIO(ranking_csv(ranking))))
    assert len(rows) == 18
    assert {row["diverged"] for row in rows if row["method"] == "D"} == {"True"}
    assert [row["nats_per_token"] for row in rows if row["method"] == "B"] == ["1.7", "1.8", "1.75"]
    latex = ranking_latex(ranking)
    assert r"B & lr=0.01, beta=0.9 & \textbf{1.7500 $\pm$ 0.0289} & $-0.1000$ $\pm$ 0.0058" in latex


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_what_their_suffix_says(tmp_path: Path, suffix: str) -> None:
    ranking = rank(gathered(tmp_path))
    heads = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for name, draw in {
        "losses": lambda path: draw_losses(ranking, path),
        "lr": lambda path: draw_sensitivity(ranking, "lr", path),
    }.items():
        path = tmp_path / f"{name}.{suffix}"
        draw(path)
        assert path.read_bytes().startswith(heads[suffix])
        assert path.stat().st_size > 5000


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    ranking = rank(gathered(tmp_path))
    with pytest.raises(InputError, match=r"not written as `\.gif`"):
        draw_losses(ranking, tmp_path / "a.gif")
    with pytest.raises(InputError, match="no method here has a grid over `gamma`"):
        draw_sensitivity(ranking, "gamma", tmp_path / "a.png")
    with pytest.raises(InputError, match="cannot be written"):
        draw_losses(ranking, tmp_path / "none" / "a.png")
    found = gathered(tmp_path / "again")
    for record in found.records:
        (record.run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="no run has a curve"):
        draw_losses(rank(found), tmp_path / "b.png")
