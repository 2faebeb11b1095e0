"""The comparison with a bare loop: it trains both, writes nothing, and its sums are right.

No test looks at a speed: that is for a quiet machine and a person.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import optzoo
from tiny_runs import TINY

from optzoo.bench import throughput
from optzoo.bench.throughput import BareLoop
from optzoo.recipe.recipe import load_recipe
from optzoo.train.experiment import assemble
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.schema import load_setup

SMALL = {
    "model.width": "16",
    "model.layers": "1",
    "model.hidden": "32",
    "batch.sequences": "4",
    "batch.sequence_length": "16",
    "batch.micro_sequences": "2",
    "objective.z_loss": "1e-3",
    "execution.threads": "1",
}


def test_the_command_compares_and_writes_nothing(tmp_path: Path) -> None:
    done = optzoo("train", "lion", *TINY, "--measure-throughput", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tokens_per_step"] == 32
    assert found["trainer"]["tokens_per_second"] > 0
    assert found["ratio_quartiles"][0] <= found["ratio"] <= found["ratio_quartiles"][1]
    assert found["mfu"] is None
    assert list(tmp_path.iterdir()) == []


def test_the_bare_loop_takes_the_gradient_of_the_trainer_s_loss() -> None:
    experiment = assemble(load_recipe("adamw"), override_setup(load_setup("quick"), SMALL))
    bare = BareLoop(experiment)
    tokens = torch.from_numpy(experiment.batches.rows(0))
    objective, _ = experiment.model(tokens[:, :-1], tokens[:, 1:], 1e-3)
    (objective / tokens[:, 1:].numel()).backward()
    norm = torch.nn.utils.clip_grad_norm_(experiment.model.parameters(), 1.0)
    assert norm > 1.0  # so that clipping is seen
    bare.take_step()
    for ours, theirs in zip(experiment.model.parameters(), bare.model.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-4, atol=1e-6)


def test_ratio_and_overhead() -> None:
    setup = override_setup(load_setup("quick"), SMALL)
    experiment = SimpleNamespace(
        setup=setup,
        recipe=load_recipe("adamw"),
        model=SimpleNamespace(count_parameters=lambda: 7),
        corpus=SimpleNamespace(vocabulary=257),
    )
    pairs = [(2.0, 1.8), (9.0, 1.8), (2.0, 1.9)]
    found = throughput._summarise(experiment, pairs, 0.2, 0.1)  # type: ignore[arg-type]
    assert found["ratio"] == pytest.approx(0.9)
    assert found["trainer"] == {"seconds": 2.0, "tokens_per_second": 32.0}
    assert found["overhead_seconds"] == pytest.approx(0.3)  # 2 - (1.8 - 0.1)
    assert found["overhead_share"] == pytest.approx(0.15)
    text = throughput.render_throughput(found)
    assert "ratio 0.900" in text
    assert "15.0% of a step" in text
