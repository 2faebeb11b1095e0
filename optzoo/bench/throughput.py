"""What the trainer and the optimizer cost, against a bare PyTorch loop in the same process.

Two copies of one model take turns on the same batches: one in the trainer, with the recipe's
optimizer, metrics and all; one in a loop of forward, backward, clipping and
`torch.optim.AdamW(fused=True)`, and nothing else. Evaluations and checkpoints are left out: their
cost is their cadence. A turn is one step on the CPU, and on a GPU long enough for its queue to
fill. Taking turns, both meet the same machine; the ratio is the median over rounds, so that what
else the machine does now and then does not count.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optzoo.bench.measure import Stopwatch, Work, stopwatch_for, take_turns
from optzoo.tables import align
from optzoo.train.experiment import Experiment, assemble, make_model
from optzoo.train.progress import Progress
from optzoo.train.runs.beginning import create_run
from optzoo.train.runs.metrics import MetricsLog
from optzoo.train.setup.hardware import flops_utilisation, recognise
from optzoo.train.setup.overrides import resolve
from optzoo.train.setup.schema import Setup
from optzoo.train.setup.size import flops_per_token
from optzoo.train.trainer import Trainer

SECONDS = 60.0  # that the rounds take together, about
ROUNDS = (11, 301)  # at least and at most
TURN_SECONDS = 1.0  # of a turn on a GPU
WARM_UP = 3  # steps


class BareLoop:
    """The same model and nothing of optzoo's but that: what anyone would write in ten lines."""

    def __init__(self, experiment: Experiment) -> None:
        setup = experiment.setup
        self._setup = setup
        self._autocast = experiment.autocast
        self.model = make_model(setup, experiment.corpus.vocabulary)
        self.model.initialize(setup.seed)
        self.model.to(setup.execution.device)
        self._loss: Callable[[Tensor], Tensor] = self._plain_loss
        if setup.execution.compile:
            self._loss = torch.compile(self._plain_loss)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        rows = [torch.from_numpy(experiment.batches.rows(step)) for step in range(8)]
        self._batches = [row.to(setup.execution.device) for row in rows]
        self._step = 0

    def take_step(self) -> None:
        """Forward, backward, clip, update."""
        rows = self._batches[self._step % len(self._batches)]
        self._step += 1
        self.optimizer.zero_grad(set_to_none=True)
        parts = torch.split(rows, self._setup.batch.micro_sequences or len(rows))
        for part in parts:
            with self._autocast():
                loss = self._loss(part)
            torch.autograd.backward(loss / len(parts))
        limit = self._setup.objective.clip_norm
        if limit is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()

    def _plain_loss(self, rows: Tensor) -> Tensor:
        logits = self.model(rows[:, :-1]).flatten(0, 1).float()
        loss = nn.functional.cross_entropy(logits, rows[:, 1:].flatten())
        z_loss = self._setup.objective.z_loss
        return loss + z_loss * logits.logsumexp(-1).square().mean() if z_loss else loss


def measure_throughput(
    recipe_name: str,
    setup_name: str,
    changes: Sequence[tuple[str, str]] = (),
    observers: Sequence[str] = (),
    *,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Return speeds of trainer and bare loop, their ratio, and what the optimizers take.

    `overhead` is the part of the trainer's step that the bare loop does not spend on forward,
    backward and clipping; `seconds` is how long to measure. Times are
    seconds a step. Raises InputError as a run would.
    """
    given, recipe, setup, _ = resolve(recipe_name, setup_name, changes, observers)
    setup = setup.with_threads(torch.get_num_threads())
    experiment = assemble(recipe, setup)
    bare = BareLoop(experiment)
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(
            *(Path(folder, "run"), recipe, setup, experiment.corpus),
            given=given,
            given_name=recipe_name,
        )
        progress = Progress(
            setup.num_steps, tokens_per_step=setup.batch.tokens, stream=io.StringIO()
        )
        trainer = Trainer(experiment, run, progress)
        with MetricsLog(run.metrics) as log:
            progress.start(0)

            works: dict[str, Work] = {
                "trainer": lambda: trainer.take_step(log),
                "bare": bare.take_step,
            }
            stopwatch = stopwatch_for(setup.execution.device, "wall")
            pairs = _take_turns(works, experiment, stopwatch, seconds)
            steps: dict[str, Work] = {
                "recipe": lambda: _step(experiment.optimizer),
                "fused": lambda: _step(bare.optimizer),
            }
            taken = take_turns(steps, rounds=11, steps=1, warmup=0, stopwatch=stopwatch)
            optimizer, fused = (timing.median for timing in taken.values())
    return _summarise(experiment, pairs, optimizer, fused)


def _take_turns(
    works: dict[str, Work], experiment: Experiment, stopwatch: Stopwatch, seconds: float
) -> list[tuple[float, float]]:
    """Return seconds a step of both works in each round, in about `seconds` together."""
    for work in works.values():
        for _ in range(WARM_UP):
            work()
    pace = statistics.median(stopwatch(works["bare"]) for _ in range(WARM_UP))
    on_gpu = experiment.setup.execution.device == "cuda"
    steps = max(1, round(TURN_SECONDS / pace)) if on_gpu else 1
    rounds = min(max(round(seconds / (2 * steps * pace)), ROUNDS[0]), ROUNDS[1])
    found = take_turns(works, rounds=rounds, steps=steps, warmup=0, stopwatch=stopwatch)
    return list(zip(found["trainer"].rounds, found["bare"].rounds, strict=True))


def _step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()


def _summarise(
    experiment: Experiment, pairs: Sequence[tuple[float, float]], optimizer: float, fused: float
) -> dict[str, Any]:
    setup = experiment.setup
    ratios = sorted(b / a for a, b in pairs)
    quarter = len(ratios) // 4
    trainer, bare = (statistics.median(column) for column in zip(*pairs))
    overhead = statistics.median(a - (b - fused) for a, b in pairs)
    speed = setup.batch.tokens / trainer
    return {
        "recipe": experiment.recipe.name,
        "setup": setup.name,
        "parameters": experiment.model.count_parameters(),
        "tokens_per_step": setup.batch.tokens,
        "device": _device_name(setup),
        "threads": setup.execution.threads,
        "engine": setup.execution.engine,
        "compile": setup.execution.compile,
        "rounds": len(pairs),
        "trainer": {"seconds": trainer, "tokens_per_second": speed},
        "bare": {"seconds": bare, "tokens_per_second": setup.batch.tokens / bare},
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[quarter], ratios[-1 - quarter]],
        "optimizer_seconds": optimizer,
        "fused_adamw_seconds": fused,
        "overhead_seconds": overhead,
        "overhead_share": overhead / trainer,
        "mfu": _mfu(experiment, speed),
    }


def _device_name(setup: Setup) -> str:
    return torch.cuda.get_device_name() if setup.execution.device == "cuda" else "cpu"


def _mfu(experiment: Experiment, speed: float) -> float | None:
    accelerator = recognise(_device_name(experiment.setup))
    if accelerator is None:
        return None
    flops = flops_per_token(experiment.setup, experiment.corpus.vocabulary)
    return flops_utilisation(speed, flops, accelerator.peak)


def render_throughput(found: dict[str, Any]) -> str:
    """Return the text of `optzoo train --measure-throughput`."""
    low, high = found["ratio_quartiles"]
    rows = [("trainer", found["trainer"]), ("bare loop, fused AdamW", found["bare"])]
    table = [("", "ms a step", "tokens/s")]
    for name, row in rows:
        table.append((name, f"{1e3 * row['seconds']:.2f}", f"{row['tokens_per_second']:,.0f}"))
    lines = [
        f"{found['recipe']} on {found['setup']}: {found['parameters']:,} parameters, "
        f"{found['tokens_per_step']:,} tokens a step, {found['device']}, "
        f"{found['threads']} threads, engine {found['engine']}"
        f"{', compiled' if found['compile'] else ''}",
        "",
        *align(table, "<>", gap=1, indent=0, least=(23, 10, 12)),
        "",
        f"ratio {found['ratio']:.3f}: the trainer's tokens/s over the bare loop's, median of "
        f"{found['rounds']} rounds (quartiles {low:.3f}, {high:.3f})",
        f"optimizer {1e3 * found['optimizer_seconds']:.2f} ms (fused AdamW "
        f"{1e3 * found['fused_adamw_seconds']:.2f} ms)",
        f"optimizer and harness {1e3 * found['overhead_seconds']:.2f} ms, "
        f"{found['overhead_share']:.1%} of a step: what the bare loop does not spend on forward, "
        "backward and clipping",
    ]
    if found["mfu"] is not None:
        lines.append(f"MFU {found['mfu']:.1%}")
    return "\n".join(lines)
