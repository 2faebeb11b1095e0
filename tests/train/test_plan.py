"""Plans: sizes counted on the real model, the reference's arithmetic, and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import environment, optzoo

from optzoo.recipe.recipe import load_recipe
from optzoo.train.experiment import make_model
from optzoo.train.setup.hardware import ACCELERATORS, flops_utilisation, recognise
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.plan import make_plan
from optzoo.train.setup.schema import Setup, load_setup
from optzoo.train.setup.size import activation_bytes, count_parameters, flops_per_token

QUICK = load_setup("quick")
PAPER = {
    "model.width": "1024",
    "model.layers": "12",
    "model.heads": "16",
    "model.hidden": "4096",
    "batch.sequences": "32",
    "batch.sequence_length": "1024",
    "budget.tokens": "15_000_000_000",
}
T5 = 32_128


def paper(**changes: str) -> Setup:
    return override_setup(QUICK, {**PAPER, **{k.replace("__", "."): v for k, v in changes.items()}})


def plan(recipe: str = "adamw", setup: Setup = QUICK, **options: Any) -> dict[str, Any]:
    return make_plan(load_recipe(recipe), setup, **options)


@pytest.mark.parametrize("qk_norm", ["true", "false"])
def test_parameters_are_those_of_the_model(qk_norm: str) -> None:
    setup = paper(model__qk_norm=qk_norm)
    with torch.device("meta"):
        model = make_model(setup, T5)
    counted = count_parameters(setup, T5)
    assert counted.total == model.count_parameters()
    assert counted.matrices == model.count_parameters("matrix")
    assert counted.norms == model.count_parameters("norm")


@pytest.mark.parametrize(("layers", "expected"), [("12", 1.254e9), ("24", 2.311e9)])
def test_flops_of_the_paper_models(layers: str, expected: float) -> None:
    assert flops_per_token(paper(model__layers=layers), T5) == pytest.approx(expected, rel=3e-4)


def test_steps_of_the_paper_runs() -> None:
    assert paper().num_steps == 457_764
    assert paper(budget__tokens="6_000_000_000").num_steps == 183_106  # rounded up
    large = {"batch__sequences": "1024", "budget__tokens": "3_000_000_000"}
    assert paper(**large).num_steps == 2_862


def kept_for_backward(setup: Setup) -> int:
    """Bytes of the distinct tensors that autograd saves, parameters and their copies left out."""
    model = make_model(setup, 257)
    model.initialize(0)
    shapes = {tuple(p.shape) for p in model.parameters()}
    shapes |= {tuple(reversed(shape)) for shape in shapes}
    kept: dict[int, int] = {}
    alive = []  # an address may be used again once its tensor is gone

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        if tuple(tensor.shape) not in shapes and tensor.data_ptr() != model.rope.data_ptr():
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.zeros(setup.batch.sequences, setup.batch.sequence_length, dtype=torch.long)
    narrow = setup.execution.precision == "bfloat16"
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow),
    ):
        model(tokens)
    return sum(kept.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("hidden", ["64", "512"])
def test_activations_are_those_that_autograd_keeps(precision: str, hidden: str) -> None:
    counted, formula = [], []
    for layers in ("2", "5"):
        changes = {"model.width": "128", "model.layers": layers, "model.hidden": hidden}
        setup = override_setup(QUICK, {**changes, "execution.precision": precision})
        counted.append(kept_for_backward(setup))
        formula.append(activation_bytes(setup))
    # what a block adds; the embedding and the last norm are not in the formula
    assert counted[1] - counted[0] == pytest.approx(formula[1] - formula[0], rel=0.03)


def test_activation_checkpointing_and_micro_batches_need_less() -> None:
    whole = activation_bytes(paper())
    assert activation_bytes(paper(batch__micro_sequences="8")) == whole // 4
    assert activation_bytes(paper(execution__activation_checkpointing="true")) < whole / 7


def test_hours_at_a_share_of_the_peak() -> None:
    found = plan(setup=paper(), mfu=0.4, hardware=["h100"])
    (row,) = found["hours"]
    by_hand = found["flops_per_token"] * 457_764 * 32_768 / (0.4 * 989.4e12) / 3600
    assert row["hours"] == pytest.approx(by_hand)
    assert plan(setup=paper(), mfu=0.2, hardware=["h100"])["hours"][0]["hours"] == pytest.approx(
        2 * by_hand
    )
    assert plan()["hours"] == []
    cuda = override_setup(QUICK, {"execution.device": "cuda"})
    assert "h100" in [row["hardware"] for row in plan(setup=cuda)["hours"]]


def test_memory_counts_the_recipe_s_own_buffers() -> None:
    tensors = {"adamw": 2, "ademamix": 3, "lion": 1, "sgd": 0}
    for recipe, number in tensors.items():
        memory = plan(recipe)["memory_bytes"]
        assert memory["optimizer_state"] == number * memory["weights"], recipe
        assert memory["total"] == sum(v for k, v in memory.items() if k != "total")


def test_milestones_of_the_learning_rate() -> None:
    found = plan(setup=QUICK)["schedule"]
    assert found["kind"] == "cosine"
    first, peak, _, last = found["milestones"]
    assert first == {"step": 1, "lr": pytest.approx(0.1 * 2e-3)}
    assert peak == {"step": 91, "lr": pytest.approx(2e-3)}
    assert last["step"] == 1800
    assert last["lr"] < 1e-5
    assert plan("schedule_free_adamw")["schedule"]["kind"] == "constant"


def test_devices_are_recognised_by_their_driver_s_name() -> None:
    names = {
        "NVIDIA H100 80GB HBM3": "h100",
        "NVIDIA H100 PCIe": "h100-pcie",
        "NVIDIA H100 NVL": "h100-nvl",
        "NVIDIA A100-SXM4-80GB": "a100",
        "NVIDIA L40S": "l40s",
        "NVIDIA L4": "l4",
        "NVIDIA GeForce RTX 4090": "rtx4090",
        "AMD Instinct MI300X": "mi300x",
    }
    for name, expected in names.items():
        found = recognise(name)
        assert found is not None, name
        assert found.name == expected
    assert recognise("Quantum Abacus 9") is None
    assert all(a.source for a in ACCELERATORS.values())
    assert flops_utilisation(1e6, 2e6, 1e13) == pytest.approx(0.2)


def test_a_dry_run_prints_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ["train", "ademamix", "--dry-run", "--set", "model.width=64", "--set", "alpha=3"]
    done = optzoo(*arguments, "--hardware", "h100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in ("1,382,400 tokens in 1,800 steps of 768", "alpha=3", "at 40% of 989.4 TFLOP/s"):
        assert part in done.stdout
    assert "beta3=0.999," in done.stdout  # what the setup sets for this recipe
    found = json.loads(optzoo(*arguments, "--json", cwd=tmp_path).stdout)
    assert found["parameters"]["non_embedding"] == 3 * (4 * 64**2 + 2 * 64 * 384)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dry-run", "--hardware", "h10"), "did you mean `h100`?"),
        (("--dry-run", "--set", "width=3"), "did you mean `model.width`?"),
        (("--mfu", "0.5"), "belong to `--dry-run`"),
        (("--json",), "belong to `--dry-run`"),
    ],
)
def test_bad_flags(arguments: tuple[str, ...], message: str) -> None:
    done = optzoo("train", "adamw", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_dry_run_does_not_need_torch() -> None:
    code = (
        "import sys\nsys.argv = ['optzoo', 'train', 'adamw', '--dry-run']\n"
        "from optzoo.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=60)


def test_showing_a_setup_gives_yaml_that_loads(tmp_path: Path) -> None:
    done = optzoo("show", "quick", "--set", "seed=3")
    assert done.returncode == 0, done.stderr
    (tmp_path / "shown.yaml").write_text(done.stdout)
    assert load_setup(str(tmp_path / "shown.yaml")) == override_setup(QUICK, {"seed": "3"})
    assert optzoo("validate", str(tmp_path / "shown.yaml")).returncode == 0
    assert "is a setup" in optzoo("show", "quick", "--program").stderr
