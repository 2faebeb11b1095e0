"""The options that make a run tiny, and runs that are stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from optzoo.distributed.signals import StopRequestedError
from optzoo.train.runs.metrics import MetricsLog
from optzoo.train.session import start_run
from optzoo.train.trainer import Trainer

ROOT = Path(__file__).parent.parent
TINY = (
    *("--set", "model.width=16", "--set", "model.layers=1", "--set", "model.hidden=32"),
    *("--set", "batch.sequences=2", "--set", "batch.sequence_length=16"),
    *("--set", "evaluation.sequences=4", "--set", "evaluation.every=10"),
    *("--set", "sample.bytes=5", "--threads", "1"),
)


def tiny_options(*arguments: str) -> list[str]:
    """The options of a tiny run and these; where both set a field, these do."""
    given = [a.partition("=")[0] for a in arguments if "=" in a]
    pairs = zip(TINY[::2], TINY[1::2])
    kept = [pair for pair in pairs if pair[1].partition("=")[0] not in given]
    return [text for pair in kept for text in pair] + list(arguments)


def tiny_changes(*changes: tuple[str, str]) -> list[tuple[str, str]]:
    """The settings of a tiny run and these, as `start_run` takes them; these come last."""
    fields = dict(text.partition("=")[::2] for text in TINY if "=" in text)
    return [*{**fields, "execution.threads": "1", **dict(changes)}.items()]


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Have a signal sent to this process after a step of whatever it trains."""
    take_step = Trainer.take_step

    def stepping(trainer: Trainer, log: MetricsLog) -> None:
        take_step(trainer, log)
        if trainer.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "take_step", stepping)


def stopped_run(path: Path, step: int, *changes: tuple[str, str], recipe: str = "sgd") -> Path:
    """Leave a tiny run as it is when it was stopped after a step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(step, patch)
        with pytest.raises(StopRequestedError):
            start_run(recipe, run_dir=path, changes=tiny_changes(*changes), quiet=True)
    return path
