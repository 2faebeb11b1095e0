"""The gradient noise scale: unbiased, and that of a run whose micro-batches are known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from commands import optzoo
from tiny_runs import TINY

from optzoo.train.noise import noise_scale, signal_and_noise, squared_norm


def test_signal_and_noise_are_without_bias() -> None:
    """Gradients N(g, s^2) of 16 samples, 4 of them first: |g|^2 and the trace within 3%."""
    rng = random.Random(0)
    true, spread, part, whole = [0.5, -1.0, 2.0], [1.0, 3.0, 0.5], 4, 16
    lines = []
    for _ in range(4000):
        samples = [
            [rng.gauss(g, s) for g, s in zip(true, spread, strict=True)] for _ in range(whole)
        ]
        norms = []
        for count in (part, whole):
            means = [sum(row[i] for row in samples[:count]) / count for i in range(3)]
            norms.append(sum(x * x for x in means))
        lines.append(signal_and_noise(norms[0], norms[1], part, whole))
    signal = sum(line["gradient_signal"] for line in lines) / len(lines)
    noise = sum(line["gradient_noise"] for line in lines) / len(lines)
    assert signal == pytest.approx(sum(g * g for g in true), rel=0.03)
    assert noise == pytest.approx(sum(s * s for s in spread), rel=0.03)
    assert noise_scale(lines) == pytest.approx(10.25 / 5.25, rel=0.08)


def test_exact_norms_give_exact_parts() -> None:
    found = signal_and_noise(3.0 + 8.0 / 2, 3.0 + 8.0 / 32, 2, 32)
    assert found == pytest.approx({"gradient_signal": 3.0, "gradient_noise": 8.0})
    assert squared_norm([torch.tensor([3.0, 4.0]), None]) == 25


def test_without_signal_or_log_there_is_no_scale() -> None:
    assert noise_scale([{"loss": 1.0}]) is None
    assert noise_scale([{"gradient_signal": -1.0, "gradient_noise": 2.0}]) is None


@pytest.mark.slow
def test_a_run_logs_it_and_trains_as_without(tmp_path: Path) -> None:
    """Measuring changes nothing: the losses are those of a run that measures at other steps."""
    losses = []
    for every in ("2", "4"):
        run = tmp_path / every
        words = ["--steps", "8", "--set", f"metrics.every={every}", "--set"]
        done = optzoo(
            "train", "adamw", *TINY, *words, "batch.micro_sequences=1", "--run-dir", str(run), "-q"
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"]
        logged = [line["step"] for line in steps if "gradient_noise" in line]
        assert logged == list(range(int(every), 9, int(every)))
        losses.append([line["loss"] for line in steps])
    assert losses[0] == losses[1]
