"""The benchmark's arithmetic with injected times, its protocol with a fake clock, and smoke runs.

No test asks how long anything takes.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from optzoo import load_recipe
from optzoo.bench import packages
from optzoo.bench.chart import draw_report
from optzoo.bench.contenders import Place, engine_contender, main_cost, package_contender
from optzoo.bench.measure import Timing, cpu_stopwatch, peak_bytes, take_turns
from optzoo.bench.overhead import MEASURES, format_overhead, run_overhead
from optzoo.bench.results import Group, Report, Result
from optzoo.bench.run import Settings, run_bench
from optzoo.bench.scaling import format_scaling, run_scaling
from optzoo.bench.shapes import count_elements, parse_count, transformer_shapes
from optzoo.bench.text import format_report
from optzoo.engines.engine import ENGINES
from optzoo.errors import InputError
from optzoo.interpreters.cost import Storage, cost
from optzoo.optimizer.precision import PORTION, portions

TINY = {"params": "2K", "rounds": 2, "steps": 1, "warmup": 1, "device": "cpu"}
PARAMS = 1_000_000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optzoo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fake_clock(seconds: float = 1.0) -> Callable[[Callable[[], None]], float]:
    """Every turn takes one second more than the one before."""
    times: Iterator[float] = iter(seconds * n for n in range(1, 10_000))

    def watch(work: Callable[[], None]) -> float:
        work()
        return next(times)

    return watch


def group() -> Group:
    """A copy at 8 GB/s, fused AdamW at 7 GB/s (4 ms), an engine at 3 ms, a package at 9 ms."""

    def timing(milliseconds: float, *warmup: float) -> Timing:
        return Timing([1e-3 * milliseconds * slow for slow in (1, 1, 4)], warmup)

    rows = [
        Result("copy", "copy", timing(1), 8 * PARAMS),
        Result("torch AdamW fused", "yardstick", timing(4), 28 * PARAMS, 8),
        Result("optzoo foreach", "engine", timing(3, 2.0, 0.003), 36 * PARAMS, 12, 5_000_000),
        Result("pytorch-optimizer AdEMAMix", "package", timing(9), 36 * PARAMS, 12),
    ]
    return Group("ademamix", PARAMS, 1, 19, rows)


def report() -> Report:
    environment = {"processor": "abacus", "cores": 2, "python": "3", "load": [0.1, 0.2]}
    environment["packages"] = {"torch": "2"}
    settings = {"params": PARAMS, "tensors": 50, "dtype": "float32", "device": "cpu", "threads": 1}
    settings |= {"rounds": 3, "steps": 1, "warmup": 2, "clock": "wall", "engines": ["foreach"]}
    return Report(environment, settings, ["heavyball"], [group()])


def test_rates_and_ratios() -> None:
    found = group()
    copy, adamw, engine, package = found.rows
    assert copy.rate == pytest.approx(8)
    assert adamw.rate == pytest.approx(7)
    assert engine.rate == pytest.approx(12)
    assert found.share_of(engine, "yardstick") == pytest.approx(12 / 7)
    assert found.share_of(engine, "copy") == pytest.approx(12 / 8)
    assert found.speedups(engine) == {"pytorch-optimizer AdEMAMix": pytest.approx(3)}
    assert engine.timing.startup == pytest.approx(2.0 + 0.003 - 2 * 0.003)
    assert package.timing.startup == 0


def test_ratios_are_paired_by_round() -> None:
    """A machine that slows down by half in the middle changes medians, not the ratio."""
    ours, theirs = Timing([1, 2, 2]), Timing([3, 3, 6])
    assert ours.median == 2
    assert theirs.median == 3
    assert theirs.ratio(ours) == 3


def test_quartiles() -> None:
    times = [float(n) for n in range(1, 10)]
    assert Timing(times).quartiles == (3.0, 7.0)
    assert Timing(times).median == statistics.median(times) == 5.0
    assert Timing([2.0]).quartiles == (2.0, 2.0)


def test_turns_are_interleaved_and_the_warm_up_is_left_out() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "AB"}
    ticks: list[None] = []
    timings = take_turns(
        works,
        rounds=2,
        steps=3,
        warmup=2,
        stopwatch=fake_clock(),
        warmup_stopwatch=fake_clock(100.0),
        tick=lambda: ticks.append(None),
    )
    assert "".join(calls) == "AABB" + "AAABBB" * 2
    assert timings["A"].warmup == [100, 200]
    assert timings["B"].warmup == [300, 400]
    assert timings["A"].rounds == [1 / 3, 3 / 3]
    assert timings["B"].rounds == [2 / 3, 4 / 3]
    assert len(ticks) == 2 + 2 * 2


def test_peak_bytes_counts_what_is_held_at_once() -> None:
    source = torch.zeros(1 << 16)

    def work() -> None:
        first = source + 1
        second = first + 1
        del first
        source.copy_(second * 2)

    assert peak_bytes(work, "cpu") // (1 << 10) == 2 * 4 * (1 << 16) // (1 << 10)
    assert peak_bytes(lambda: None, "cpu") == 0
    assert peak_bytes(source.zero_, "cpu") == 0


def test_text() -> None:
    text = format_report(report())
    assert "skipped, not installed: heavyball" in text
    assert "a step moves 36 bytes a parameter in one pass, 19 operations; state 12 bytes" in text
    row = next(line for line in text.splitlines() if line.startswith("  optzoo foreach  "))
    assert row.split() == (
        ["optzoo", "foreach", "3", "3", "-", "7.5", "12", "150%", "1.71", "2.00", "5.0"]
    )
    assert "optzoo foreach: 3.00 times as fast as pytorch-optimizer AdEMAMix" in text


def test_json_and_chart() -> None:
    data = json.loads(json.dumps(report().to_json()))
    assert set(data) == {"environment", "settings", "skipped_packages", "groups"}
    (found,) = data["groups"]
    assert found["counterparts"] == ["pytorch-optimizer AdEMAMix"]
    row = found["rows"][2]
    assert row["bytes_per_parameter"] == 36
    assert row["seconds"]["rounds"] == [0.003, 0.003, 0.012]
    assert row["times_as_fast"] == {"pytorch-optimizer AdEMAMix": pytest.approx(3)}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_bars_are_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bars{suffix}"
    draw_report(report(), path)
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(
    ("text", "count"), [("30M", 30_000_000), ("1.5b", 1_500_000_000), (" 2k ", 2_000)]
)
def test_sizes(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "30X", "-1M", "12", "1e6", "200B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="not a number of parameters"):
        parse_count(text)


@pytest.mark.parametrize("params", [10_000, 10**6, 30 * 10**6, 300 * 10**6, 2 * 10**9])
def test_the_transformer_has_about_the_parameters_asked_for(params: int) -> None:
    shapes = transformer_shapes(params)
    assert abs(count_elements(shapes) / params - 1) < 0.02
    assert len(shapes) >= 10


def test_thirty_million_in_fifty_tensors() -> None:
    assert len(transformer_shapes(30_000_000)) == 50


@pytest.mark.parametrize("counterpart", packages.COUNTERPARTS, ids=lambda c: f"{c.recipe}-{c.name}")
def test_counterparts_can_be_built_and_take_steps(counterpart: packages.Counterpart) -> None:
    if not packages.is_installed(counterpart.package):
        pytest.skip(f"{counterpart.package} is not installed")
    if counterpart.package == "heavyball":
        pytest.skip("heavyball compiles for minutes; measured by hand")
    recipe = load_recipe(counterpart.recipe)
    bill = cost(recipe.trained_program())
    contender = package_contender(
        counterpart, recipe, Place([(4, 4)], "float32", "cpu"), bill, "package"
    )
    before = contender.params[0].detach().clone()
    for _ in range(8):  # RAdam waits for five
        contender.step()
    assert not torch.equal(contender.params[0], before)


def test_counterparts_of_a_recipe_have_names_of_their_own() -> None:
    names = [(c.recipe, c.name) for c in packages.COUNTERPARTS]
    assert len(set(names)) == len(names)
    assert set(packages.USUAL) < {c.package for c in packages.COUNTERPARTS}


@pytest.mark.parametrize(
    ("dtype", "moved", "state"),
    [
        ("float32", 4 * (2 + 5 + 4), 12),
        ("float64", 8 * (2 + 5 + 4), 24),
        # g and its float32 predecessor; p, g and three buffers; p and buffers; the float32 copy
        ("bfloat16", (2 + 4) + (2 + 2 + 3 * 4) + (2 + 3 * 4) + 2 * 4, 16),
    ],
)
def test_bytes_are_counted_with_the_dtypes_in_memory(dtype: str, moved: int, state: int) -> None:
    recipe = load_recipe("mars")
    place = Place([(4, 4)], dtype, "cpu")
    contender = engine_contender(recipe, "foreach", place, cost(recipe.trained_program()))
    contender.step()
    assert contender.step_bytes == moved
    assert contender.state_bytes == state


ROUTED = """
name: routed
version: 2
summary: momentum for the matrices, AdamW for what has one axis
reference: none
extends: sgd_momentum
routes: [{kind: matrix, use: here}, {use: adamw}]
"""


def test_a_recipe_with_routes_is_counted_rule_by_rule(tmp_path: Path) -> None:
    """Bare tensors tell their axes, and so which rule they take."""
    path = tmp_path / "routed.yaml"
    path.write_text(ROUTED)
    recipe = load_recipe(path)
    bills = {rule.label: cost(rule.trained_program()) for rule in recipe.rules}
    storage = Storage.usual("float32")
    moved = {label: bill.step_bytes(storage) for label, bill in bills.items()}
    assert moved["here"] != moved["adamw"]
    for shapes, wanted, label in [
        ([(8, 8), (36,)], 0.64 * moved["here"] + 0.36 * moved["adamw"], "here"),
        ([(36,), (4, 16)], 0.36 * moved["adamw"] + 0.64 * moved["here"], "here"),
        ([(8, 2), (84,)], 0.16 * moved["here"] + 0.84 * moved["adamw"], "adamw"),
    ]:
        bill, said = main_cost(recipe, shapes)
        assert bill == bills[label]
        assert said.endswith(f"passes and operations of `{label}`")
        contender = engine_contender(recipe, "foreach", Place(shapes, "float32", "cpu"), bill)
        contender.step()
        assert contender.step_bytes == pytest.approx(wanted)
    settings = Settings(recipes=[str(path)], engines=["foreach"], against=[], **TINY)
    (found,) = run_bench(settings, stopwatch=fake_clock()).groups
    assert "bare tensors go by their axes" in found.notes[0]


def test_a_run_measures_all_engines_beside_adamw_and_the_copy() -> None:
    stream = io.StringIO()
    settings = Settings(recipes=["lion", "sgd"], engines=["foreach"], against=["torch"], **TINY)
    found = run_bench(settings, stopwatch=fake_clock(), stream=stream)
    lion, sgd = found.groups
    assert [row.name for row in lion.rows] == ["copy", "torch AdamW fused", "optzoo foreach"]
    assert [row.name for row in sgd.rows][3:] == ["torch SGD fused"]
    assert "no counterpart among the packages asked for" in format_report(found)
    assert lion.rows[2].moved == 20 * lion.params
    assert lion.rows[2].state_bytes == 4
    assert lion.rows[2].timing.rounds == [6, 9]
    assert found.settings["params"] == count_elements(transformer_shapes(2_000))
    assert stream.getvalue() == ""  # a bar is for terminals


def test_absent_packages_are_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.MODULES, "lion-pytorch", "no_such_module")
    settings = Settings(recipes=["lion"], engines=["foreach"], against=["lion-pytorch"], **TINY)
    found = run_bench(settings, stopwatch=cpu_stopwatch)
    assert found.skipped == ["lion-pytorch"]
    assert "skipped, not installed: lion-pytorch" in format_report(found)


def test_a_package_that_fails_is_reported_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fussy(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            raise RuntimeError("not today\nnor tomorrow")

    monkeypatch.setattr(torch.optim, "SGD", Fussy)
    settings = Settings(recipes=["sgd"], engines=["foreach"], against=["torch"], **TINY)
    (found,) = run_bench(settings, stopwatch=fake_clock()).groups
    assert found.notes == ["torch SGD fused fails here: RuntimeError: not today"]
    assert found.some("package") == []


def test_gradients_that_a_step_takes_away_are_given_again() -> None:
    recipe = load_recipe("sgd")
    place = Place([(4, 4)], "float32", "cpu")
    contender = engine_contender(recipe, "foreach", place, cost(recipe.trained_program()))
    before = contender.params[0].detach().clone()
    contender.step()
    once = contender.params[0].detach().clone()
    contender.params[0].grad = None
    contender.step()
    twice = contender.params[0].detach()
    torch.testing.assert_close(once - before, twice - once)
    assert not torch.equal(once, twice)


def test_adamw_is_its_own_counterpart_once() -> None:
    settings = Settings(recipes=["adamw"], engines=["foreach"], against=["torch"], **TINY)
    (found,) = run_bench(settings, stopwatch=fake_clock()).groups
    names = [row.name for row in found.rows]
    assert names == ["copy", "torch AdamW fused", "optzoo foreach", "torch AdamW foreach"]
    assert set(found.speedups(found.rows[2])) == {"torch AdamW fused", "torch AdamW foreach"}


def test_overhead() -> None:
    settings = Settings(recipes=["schedule_free_adamw"], engines=["foreach"], **TINY)
    found = run_overhead(settings, stopwatch=cpu_stopwatch)
    adamw, ours = found["rows"]
    assert adamw["name"] == "torch AdamW fused"
    assert set(ours["seconds"]) == set(MEASURES)
    assert set(adamw["seconds"]) == set(MEASURES) - {"evaluation"}
    copies = ours["copies_of_the_model"]
    assert copies["zero_grad"] == copies["state_dict"] == 0  # state_dict shares its tensors
    # the saved training point; the one shown is made a quarter at a time, with one temporary
    assert 1 <= copies["evaluation"] <= 1.5
    assert "schedule_free_adamw foreach" in format_overhead(found)


def test_portions_keep_order_and_bound() -> None:
    sizes = [3, PORTION, 1, PORTION - 1, 2 * PORTION, 0, 5]
    params = [torch.empty(size, device="meta") for size in sizes]
    found = list(portions(params))
    assert [p.numel() for portion in found for p in portion] == sizes
    assert [[p.numel() for p in portion] for portion in found] == (
        [[3], [PORTION], [1, PORTION - 1], [2 * PORTION], [0, 5]]
    )
    assert list(portions([])) == []


def test_scaling() -> None:
    settings = Settings(recipes=["adamw"], engines=["foreach"], **TINY)
    found = run_scaling(settings, ["2K", "20K"], stopwatch=fake_clock())
    (row,) = found["rows"]
    small, large = row["points"]
    assert large["params"] > 9 * small["params"]
    assert large["nanoseconds_per_parameter"] == 1e9 * large["seconds"] / large["params"]
    assert "adamw foreach" in format_scaling(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": ["nope"]}, "no recipe is called"),
        ({"engines": ["fast"]}, "not an engine"),
        ({"against": ["numpy"]}, "not a package"),
        ({"params": "30X"}, "not a number of parameters"),
        ({"tensors": 10**6}, "make 1 to"),
        ({"dtype": "int8"}, "not a dtype"),
        ({"device": "tpu"}, "no such device"),
        ({"clock": "sun"}, "no such clock"),
        ({"clock": "processor", "threads": 2}, "adds up"),
        ({"params": "90B"}, "iB are free"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_mistakes(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_bench(Settings(**{**TINY, "recipes": ["adamw"], **changes}))


def test_cuda_is_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(InputError, match="no CUDA device"):
        run_bench(Settings(**{**TINY, "device": "cuda"}))


def test_the_command(tmp_path: Path) -> None:
    chart = tmp_path / "bars.png"
    small = ["--params", "2K", "--rounds", "1", "--steps", "1", "--warmup", "1", "--threads", "1"]
    done = run(
        *["bench", "sgd", "--engine", "foreach", "--against", "none", "--json"],
        *[*small, "--plot", str(chart)],
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["settings"]["threads"] == 1
    assert [row["kind"] for row in data["groups"][0]["rows"]] == ["copy", "yardstick", "engine"]
    assert done.stderr == f"wrote {chart}\n"
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments",
    [["--overhead", "--scaling", "1M"], ["--plot", "no/folder/x.png"], ["--engine", ","]],
    ids=str,
)
def test_wrong_flags(arguments: list[str]) -> None:
    done = run("bench", "adamw", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_every_fast_engine_is_measured() -> None:
    from optzoo.bench.run import SLOW_ENGINES, prepare

    field = prepare(Settings(**TINY))
    assert field.engines == [name for name in ENGINES if name not in SLOW_ENGINES]
