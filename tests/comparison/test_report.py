"""The page of runs and sweeps: what is in it, what is not loaded, and that browsers draw it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commands import optzoo
from made_sweeps import SWEEP, diverge, fail, made_loss, make_sweep
from tiny_runs import TINY
from typer.testing import CliRunner

from optzoo.cli.app import app
from optzoo.comparison import report
from optzoo.comparison.ranking import rank
from optzoo.comparison.records import gather
from optzoo.comparison.report import MARK, format_report, verdict, write_report
from optzoo.comparison.table import ranking_json
from optzoo.errors import InputError
from optzoo.sweeps.folder import SweepFolder, open_sweep


class Page(HTMLParser):
    """What a browser reads: tags, their attributes, texts, and rows of tables by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self.data: dict[str, Any] = {}
        self._section, self._within, self._in_row = "", "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._within = found.get("id") or tag
        if tag == "section":
            self._section = found["id"] or ""
            self.sections[self._section] = []
        if tag == "tr" and self._section:
            self._in_row = True
            self.sections[self._section].append([])
        if tag in ("td", "th") and self._section and self.sections[self._section]:
            self.sections[self._section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_row = self._in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self._within == "data":
            self.data = json.loads(data)
            self._within = ""
            return
        self.texts.append(data)
        rows = self.sections.get(self._section)
        if self._in_row and rows and rows[-1]:
            rows[-1][-1] = " ".join(f"{rows[-1][-1]} {data}".split())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep of four methods over three seeds, with a run that diverged and one that failed."""
    folder = make_sweep(tmp_path_factory.mktemp("made"))
    diverge(task_of(folder, "adamw", lr=0.01))
    fail(task_of(folder, "AdEMAMix", lr=0.001, beta3=0.99))
    return folder


def task_of(folder: SweepFolder, method: str, **values: float) -> Any:
    return next(
        t
        for t in folder.tasks
        if any(p["method"] == method and p["values"] == values for p in t.about["points"])
    )


def page_of(folder: SweepFolder, baseline: str | None = None) -> Page:
    found = gather([folder.path])
    return Page(format_report(found, baseline, sweeps=[folder], command="optzoo report mine")[0])


@pytest.fixture(scope="module")
def page(made: SweepFolder) -> Page:
    return page_of(made)


# ------------------------------------------------------------------- data


def test_its_data_is_the_ranking(made: SweepFolder, page: Page) -> None:
    ranking = rank(gather([made.path]))
    assert page.data["ranking"] == json.loads(json.dumps(ranking_json(ranking)))
    other = page_of(made, "schedule_free_adamw")
    assert other.data["ranking"]["baseline"] == "schedule_free_adamw"
    assert other.data["ranking"] != page.data["ranking"]


def test_the_verdict_is_in_the_page_without_scripts(made: SweepFolder, page: Page) -> None:
    ranking = rank(gather([made.path]))
    heads, *rows = page.sections["verdict"][:5]
    assert [row[0].removesuffix(" baseline") for row in rows] == [m.method for m in ranking.methods]
    for row, method in zip(rows, ranking.methods, strict=True):
        assert method.best is not None
        assert method.best.summary is not None
        cells = dict(zip(heads, row, strict=True))
        summary = method.best.summary
        assert cells["loss"].startswith(f"{summary.mean:.4f} ± {summary.error:.4f}")
        assert cells["loss"].endswith("*") == method.is_among_best
        assert cells["std"] == f"{summary.std:.4f}"
        assert cells["seeds"] == "3"
        assert cells["noise scale"] == "4K"
        assert cells["memory"] == "286.1 MiB"
        assert cells["best setting"] == method.best.text
        if method.method != "adamw":
            apart = method.to_baseline
            assert apart is not None
            assert cells["to adamw"] == f"{apart.mean:+.4f} ± {apart.error:.4f}"
    assert "paired by seed" in page.text
    assert page.sections["verdict"][6][:2] == ["AdEMAMix better than adamw", "within noise"]
    for warning in ranking.warnings:
        assert warning in page.text


@pytest.mark.parametrize(
    ("adamw", "lion", "words"),
    [
        ([2.0], [1.9], ["lowest held-out loss: 1.9000", "One seed each", "cannot be tested"]),
        ([2.0, 2.2, 2.1], [2.1, 1.9, 2.2], ["Within noise of it (p at least 0.05): adamw."]),
        (
            [2.0, 2.2, 2.1],
            [1.81, 2.0, 1.9],
            ["ahead of every other method by more than noise", "by -0.1967 ± 0.0033 (p 0.0003, "],
        ),
    ],
    ids=["one seed", "a tie", "a difference"],
)
def test_the_verdict_in_sentences(
    tmp_path: Path, adamw: list[float], lion: list[float], words: list[str]
) -> None:
    losses = {"adamw": adamw, "lion": lion}
    sweep = "name: s\nsummary: s\nsetup: SETUP\nmethods: [{recipe: adamw}, {recipe: lion}]\n"
    sweep += f"seeds: {list(range(len(adamw)))}\n"
    folder = make_sweep(tmp_path, sweep=sweep, loss=lambda m, _, seed: losses[m][seed])
    said = " ".join(verdict(rank(gather([folder.path]))))
    for word in words:
        assert word in said


def test_curves_are_those_of_the_runs(made: SweepFolder, page: Page) -> None:
    """The loss was made as 5.5 + (end - 5.5) sqrt(step / 600), at 64 tokens a step."""
    for curve in page.data["curves"]:
        method = next(m for m in page.data["ranking"]["methods"] if m["method"] == curve["method"])
        ends = list(method["best"]["losses"].values())
        assert curve["tokens"] == [64 * step for step in range(0, 601, 50)]
        for end, row in zip(ends, curve["seeds"], strict=True):
            at = [5.5 + (end - 5.5) * math.sqrt(t / 38400) for t in curve["tokens"]]
            assert row == pytest.approx(at, rel=1e-6)
        assert curve["mean"][-1] == pytest.approx(sum(ends) / 3, rel=1e-6)
        speeds = [1000, 1010, 1020]
        assert curve["seconds"][-1] == pytest.approx(sum(38400 / s for s in speeds) / 3, rel=1e-6)
        train = curve["train"]
        assert train["steps_together"] == 2
        assert train["tokens"] == [64 * step for step in range(2, 601, 2)]
        first = [
            5.5 + (ends[0] - 5.5) * math.sqrt(t / 600) + 0.2 * math.sin(t * 1.7) for t in (1, 2)
        ]
        assert train["seeds"][0][0] == pytest.approx(sum(first) / 2, rel=1e-6)


def test_sensitivity_by_hand(page: Page) -> None:
    by_name = {
        row["name"]: {m["method"]: m for m in row["methods"]} for row in page.data["sensitivity"]
    }
    assert set(by_name) == {"lr", "beta3", "delta"}
    assert set(by_name["lr"]) == {"adamw", "AdEMAMix"}
    adamw = by_name["lr"]["adamw"]
    assert adamw["diverged"] == [0.01]
    assert [value for value, _, _ in adamw["best"]] == [0.001, 0.003]
    for value, mean, error in adamw["best"]:
        losses = [made_loss("adamw", {"lr": value}, seed) for seed in range(3)]
        assert mean == pytest.approx(sum(losses) / 3)
        assert error > 0
    assert len(by_name["lr"]["AdEMAMix"]["all"]) == 4


def test_coefficients_by_hand(page: Page) -> None:
    """AdamW with the cosine of the setup: a warmup of 20 steps from a tenth, down to a tenth."""
    by_method = {row["method"]: row for row in page.data["coefficients"]}
    adamw = by_method["adamw"]
    assert adamw["form"]
    assert (adamw["steps"][0], adamw["steps"][-1]) == (1, 600)
    (momentum,) = adamw["momenta"]
    for t, beta, eta in zip(adamw["steps"], momentum["beta"], momentum["eta"], strict=True):
        rise = min(1.0, 0.1 + 0.9 * (t - 1) / 20)
        fall = 0.1 + 0.9 * (1 + math.cos(math.pi * max(0, t - 21) / 580)) / 2
        assert beta == pytest.approx(0.0 if t == 1 else 0.9)
        assert eta == pytest.approx(3e-3 * rise * fall * 0.1 / (1 - 0.9**t), rel=1e-9)
    assert set(adamw["alphas"][0]) == {0.0}
    assert "eta_a(t) = lr(t)*(1 - beta1)/(1 - beta1**t)" in page.text


def test_a_method_without_the_form_shows_its_momenta(page: Page) -> None:
    mixed = next(row for row in page.data["coefficients"] if row["method"] == "AdEMAMix")
    assert not mixed["form"]
    fast, slow = mixed["momenta"]
    assert (fast["name"], slow["name"]) == ("m1", "m2")
    assert fast["beta"][-1] == pytest.approx(0.9)
    assert mixed["nearest"]["t"] == 600
    assert "Not of the form of Eq. (1): its 2 momenta" in page.text


# ------------------------------------------------------------------ tables


def test_all_runs_are_in_the_table(made: SweepFolder, page: Page) -> None:
    heads, *rows = page.sections["runs"]
    assert set(heads[1:4]) == {"lr", "beta3", "delta"}
    records = gather([made.path]).records
    assert len(rows) == len(records)
    loss, run = heads.index("loss"), heads.index("run")
    shown = {(row[run], row[heads.index("view")]): row[loss] for row in rows}
    for record in records:
        text = "diverged" if record.loss is None else f"{record.loss:.4f}"
        assert shown[str(record.run), record.view] == text


def test_only_what_differs_is_listed(page: Page) -> None:
    heads, *rows = page.sections["differences"]
    found = {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}
    assert found["weight_decay"]["adamw"] != found["weight_decay"]["AdEMAMix"]
    assert found["delta"] == {m: "0.1" if m == "adamw_averaged" else "none" for m in heads[1:]}
    assert found["schedule.kind"]["adamw"] == "cosine"  # the setup says auto
    assert found["schedule.kind"]["schedule_free_adamw"] == "constant"
    assert not {"lr", "eps", "beta2", "seed", "model.width"} & set(found)


def test_what_failed_and_what_diverged(made: SweepFolder, page: Page) -> None:
    _, failed, diverged = page.sections["faults"]
    assert failed[:3] == ["failed", "AdEMAMix, lr=0.001, beta3=0.99, seed 0", "5"]
    assert failed[3].startswith("ValueError: <img src=x onerror=alert(1)> Traceback")
    assert diverged[:4] == ["diverged", "adamw, lr=0.01, seed 0", "17", "the loss is nan"]
    assert diverged[4] == str(task_of(made, "adamw", lr=0.01).run)


def test_where_it_is_from(made: SweepFolder, page: Page) -> None:
    assert "optzoo report mine" in page.text
    assert f"optzoo sweep {made.path}/sweep.yaml --dir {made.path}" in page.text
    for task in made.tasks:
        if task.result is not None and task.result["views"]:
            identity = json.loads((task.run / "run.json").read_text())
            assert identity["recipe_digest"] in page.text
            assert identity["setup_sha256"] in page.text
    assert "a made corpus, " + "f" * 64 in page.text
    versions = json.loads((made.tasks[0].run / "versions.json").read_text())
    assert f"optzoo {versions['optzoo']}, python {versions['python']}" in page.text


# ------------------------------------------------------- safety, sameness


def test_texts_from_files_are_texts(made: SweepFolder) -> None:
    """A method, a path, a note, a reason and a sample that look like HTML are shown as they are."""
    evil = "<script>alert('x')</script>"
    found = gather([made.path])
    renamed = tuple(replace(r, method=evil) if r.method == "adamw" else r for r in found.records)
    gathered = replace(found, records=renamed, claims=(), baseline=evil)
    text, _ = format_report(gathered, sweeps=[made], command=f"optzoo report {evil} && </pre>")
    page = Page(text)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len(scripts) == 3
    assert not {"img", "iframe"} & {tag for tag, _ in page.tags}
    assert all(not name.startswith("on") for _, found in page.tags for name in found)
    assert page.text.count(evil) > 3
    assert "<b>bold</b> & {{ 7*7 }}" in page.text
    assert "</pre><script>alert(1)</script>" in page.text  # the sample
    assert page.data["ranking"]["baseline"] == evil
    assert evil not in text


def test_nothing_is_loaded(page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:"))
    for path in report.PAGE.iterdir():
        text = path.read_text()
        assert not re.search(r"https?://|@import|url\((?!#)|fetch\(|XMLHttp|WebSocket", text), path
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_same_folders_give_the_same_page(made: SweepFolder) -> None:
    first, second = (
        format_report(gather([made.path]), sweeps=[open_sweep(made.path)], command="c")[0]
        for _ in range(2)
    )
    assert first == second


def test_a_run_without_metrics_has_no_curve(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, sweep=SWEEP.replace("seeds: [0, 1, 2]", "seeds: [0]"))
    bare = task_of(folder, "schedule_free_adamw")
    (bare.run / "metrics.jsonl").unlink()
    (bare.run / "versions.json").unlink()
    (bare.run / "sample.txt").unlink()
    (bare.run / "recipe.yaml").write_text("name: other\n")
    page = page_of(folder)
    assert "schedule_free_adamw" not in {curve["method"] for curve in page.data["curves"]}
    about = {row["method"]: row for row in page.data["coefficients"]}["schedule_free_adamw"]
    assert "recipe.yaml" in about["problem"]
    assert about["problem"] in page.text
    assert len(page.sections["verdict"]) == 5 + 3


def test_infinite_hyperparameters_are_no_obstacle(made: SweepFolder) -> None:
    found = gather([made.path])
    record = replace(found.records[0], hyperparameters={"clip": math.inf})
    gathered = replace(found, records=(record, *found.records[1:]))
    page = Page(format_report(gathered, sweeps=[made], command="c")[0])
    settings = [s for m in page.data["ranking"]["methods"] for s in m["settings"]]
    assert {"clip": "inf"} in [s["hyperparameters"] for s in settings]


# ----------------------------------------------------------------- command


def test_the_command_writes_over_its_own_pages_alone(made: SweepFolder, tmp_path: Path) -> None:
    run, out = CliRunner().invoke, tmp_path / "page.html"
    done = run(app, ["report", str(made.path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert MARK in out.read_text()
    assert f"wrote {out}" in done.output
    out.write_text(out.read_text().replace("</html>", "an older one</html>"))
    assert run(app, ["report", str(made.path), "--out", str(out)]).exit_code == 0
    assert "an older one" not in out.read_text()
    out.write_text("my thesis")
    with pytest.raises(InputError, match="no page of `optzoo report`"):
        write_report([made.path], out)
    assert out.read_text() == "my thesis"


@pytest.mark.parametrize(
    ("paths", "out", "message"),
    [
        (["nowhere"], "page.html", "is not a run directory"),
        ([""], "missing/page.html", "cannot be written: No such file"),
        ([""], ".", "cannot be written: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    made: SweepFolder, tmp_path: Path, paths: list[str], out: str, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        write_report([made.path / path for path in paths], tmp_path / out)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_that_is_not_there(made: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`sgd` is not compared here"):
        write_report([made.path], tmp_path / "page.html", "sgd")


@pytest.mark.slow
def test_a_page_of_trained_runs(tmp_path: Path) -> None:
    for recipe in ("adamw", "lion"):
        done = optzoo("train", recipe, "--steps", "20", *TINY, "--run-dir", recipe, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = optzoo("report", "adamw", "lion", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one seed" in done.stderr
    page = Page((tmp_path / "report.html").read_text())
    assert {curve["method"] for curve in page.data["curves"]} >= {"adamw", "lion"}
    assert "optzoo train lion --steps 20" in page.text
    best = page.data["ranking"]["methods"][0]["best"]["runs"]["0"]
    assert " ".join((tmp_path / best / "sample.txt").read_text().split()) in page.text


# ----------------------------------------------------------------- browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """Open a page in a browser without a window, and return what it says and writes."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt-get install chromium`")

    def opened(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [CHROMIUM, *fixed, profile, "--virtual-time-budget=3000", *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    return opened


@pytest.mark.slow
def test_a_browser_draws_it(made: SweepFolder, page: Page, tmp_path: Path, browse: Any) -> None:
    import matplotlib.image

    out, picture = tmp_path / "page.html", tmp_path / "page.png"
    write_report([made.path], out)
    done = browse(out, "--window-size=1000,4000", f"--screenshot={picture}")
    assert "CONSOLE" not in done.stderr, done.stderr
    pixels = matplotlib.image.imread(picture)[..., :3]
    rows = pixels.reshape(len(pixels), -1).std(axis=1) > 0.01
    assert rows.mean() > 0.3  # of the rows of pixels have something on them
    drawn = browse(out, "--dump-dom").stdout
    charts = 1 + len(page.data["sensitivity"]) + 4 * len(page.data["coefficients"])
    assert drawn.count('class="frame"') == charts
    assert "NaN" not in re.sub(r"<script.*?</script>", "", drawn, flags=re.DOTALL)


@pytest.mark.slow
def test_a_broken_script_would_be_noticed(made: SweepFolder, tmp_path: Path, browse: Any) -> None:
    out = tmp_path / "page.html"
    write_report([made.path], out)
    out.write_text(out.read_text().replace("setUpTables();\n", "notThere();\n"))
    assert "notThere is not defined" in browse(out, "--dump-dom").stderr
