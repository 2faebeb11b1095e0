"""The training loop: steps, evaluations, checkpoints, and the way in and out of them.

After k steps the state is a pure function of (recipe, setup, corpus fingerprint, k, thread count):
the loop keeps nothing that a checkpoint does not hold, apart from the clock. Evaluations and
checkpoints happen after the step that their cadence names and never change what follows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from optzoo.distributed.sharding import whole
from optzoo.distributed.signals import StopRequest, StopRequestedError
from optzoo.errors import Diagnostic, RunError
from optzoo.train.evaluate import Loss, measure_views
from optzoo.train.experiment import Experiment
from optzoo.train.progress import Progress
from optzoo.train.runs.checkpoint import CheckpointWriter, PlainSaver, load_newest, save_checkpoint
from optzoo.train.runs.checkpoint_folder import Checkpoint, CheckpointSaver, Keep, list_checkpoints
from optzoo.train.runs.directory import RunDirectory
from optzoo.train.runs.metrics import Mark, MetricsLog, NoLog
from optzoo.train.runs.trackers import Tracking
from optzoo.train.snapshot import restore_snapshot, take_snapshot
from optzoo.train.telemetry import Telemetry

Views = dict[str, tuple[Loss, str]]
LOOK_EVERY = 5.0
"""Seconds between two looks at whether the run directory is still there."""


class Trainer:
    """Trains an experiment in a run directory, from its newest checkpoint on.

    `step` is the number of optimizer steps taken, `seconds` the wall time they took in all
    processes together.
    """

    def __init__(self, experiment: Experiment, run: RunDirectory, progress: Progress) -> None:
        self.experiment = experiment
        self.world = experiment.world
        self.run = run
        self.progress = progress
        self.step = 0
        self.seconds = 0.0
        self.evaluated: int | None = None  # the step of the last evaluation in the metrics
        self._mark = Mark()
        self._saved: tuple[int, int | None] | None = None  # of the newest checkpoint: see _save
        self._is_to_save = False  # a signal asked for it
        self._looked = 0.0
        self._loss: float | None = None  # held-out, of that evaluation
        self._saver: CheckpointSaver = PlainSaver()
        if experiment.parallel.kind == "fsdp":
            from optzoo.train.runs.checkpoint_sharded import ShardedSaver

            self._saver = ShardedSaver()
        self._telemetry = Telemetry(
            experiment.setup, experiment.corpus.vocabulary, list(experiment.model.parameters())
        )
        self._base_rates = [float(g["lr"]) for g in experiment.optimizer.param_groups]

    def restore(self) -> None:
        """Go to the newest good checkpoint; without any, stay at step 0."""
        layout = None
        if self.experiment.parallel.kind == "fsdp":
            layout = take_snapshot(self.experiment, 0, {}).tensors
        checkpoint = load_newest(self.run.checkpoints, warn=self.progress.warn, layout=layout)
        if checkpoint is None:
            return
        known = self.run.identity.get("setup_sha256")
        state = restore_snapshot(self.experiment, checkpoint, setup_sha256=known)
        self.step = checkpoint.step
        self.seconds = state["seconds"]
        self.evaluated = state["evaluated"]
        self._mark = Mark(state["metrics_bytes"], state.get("metrics_sha256"))

    def train(self) -> Views:
        """Take the steps that are left and return the final losses of every view.

        Raises StopRequestedError, after a checkpoint, on SIGINT, SIGTERM and SIGHUP, and RunError
        when the loss is no longer finite, or when the run directory is gone.
        """
        steps = self.experiment.setup.num_steps
        started = time.perf_counter() - self.seconds
        with (
            StopRequest(patient=self.world.size > 1) as stop,
            self._open_log() as log,
            CheckpointWriter(self._write) as writer,
        ):
            try:
                final = self._evaluate_if_due(log, stop)
                if self.step == 0:
                    self._save(log, writer)  # a rehearsal, while nothing is lost
                    writer.wait()
                while self.step < steps:
                    self._heed(stop)
                    writer.check()
                    self.take_step(log)
                    self.seconds = time.perf_counter() - started
                    final = self._evaluate_if_due(log, stop)
                    if self._is_checkpoint_due() or self._is_to_save:
                        self._save(log, writer)
            except StopRequestedError:
                self.seconds = time.perf_counter() - started
                self._save(log, writer)
                raise
            finally:
                log.sync()
                self.progress.close()
        return final or self._measure(StopRequest())

    def _heed(self, stop: StopRequest) -> None:
        """Act upon signals, and now and then see whether the run directory is still there."""
        self._is_to_save |= self.world.check_stop(stop)
        now = time.monotonic()
        if self.world.is_first and now - self._looked > LOOK_EVERY:
            self._looked = now
            self.run.check_in_place()

    def _open_log(self) -> MetricsLog:
        if not self.world.is_first:
            return NoLog()
        setup = self.experiment.setup
        tracking = Tracking(
            setup.metrics.track,
            path=self.run.path,
            config={"recipe": self.experiment.recipe.name, **setup.model_dump(mode="json")},
            step=self.step,
            every=setup.metrics.every,
            warn=self.progress.warn,
        )
        return MetricsLog(self.run.metrics, self._mark, tracking, warn=self.progress.warn)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.experiment.setup.num_steps

    def take_step(self, log: MetricsLog) -> None:
        """Take one optimizer step and log it, without evaluating or saving.

        Raises RunError when loss or gradient are not finite; nothing is updated then.
        """
        experiment, setup = self.experiment, self.experiment.setup
        optimizer = experiment.optimizer
        number = self.step + 1
        self._telemetry.start(number)
        multiplier = experiment.schedule.at(number)
        for group, base in zip(optimizer.param_groups, self._base_rates):
            group["lr"] = base * multiplier
        rows = experiment.batches.rows(self.step, self.world.rank, self.world.size)
        loss = self._accumulate_gradients(torch.from_numpy(rows))
        norm = clip_gradients(experiment.model.parameters(), setup.objective.clip_norm)
        if not math.isfinite(loss):
            raise self._diverged(number, f"the training loss is {loss}")
        if not math.isfinite(norm):
            raise self._diverged(number, f"the norm of the gradient is {norm}")
        self._telemetry.measure_noise(norm)
        with self._telemetry.update():
            optimizer.step()
        self.step = number
        lr = float(optimizer.param_groups[0]["lr"])
        log.write(
            "step",
            {
                "step": number,
                "tokens": number * setup.batch.tokens,
                "loss": loss,
                "lr": lr,
                "grad_norm": norm,
                **self._telemetry.changes(),
            },
        )
        speed = self._telemetry.finish()
        if speed:
            log.write("speed", {"step": number, **speed})
        self.progress.step(number, loss=loss, lr=lr, grad_norm=norm, speed=speed)

    def _accumulate_gradients(self, rows: Tensor) -> float:
        """Leave the gradient of the mean loss of a global batch; return its cross-entropy.

        `rows` are this process's share of it, as large as every other's.
        """
        experiment, setup = self.experiment, self.experiment.setup
        experiment.optimizer.zero_grad(set_to_none=True)
        targets = rows.shape[0] * (rows.shape[1] - 1)
        nats = torch.zeros((), device=setup.execution.device)
        parts = torch.split(rows, setup.batch.micro_sequences or len(rows))
        for i, part in enumerate(parts):
            tokens = part.to(setup.execution.device)
            with experiment.parallel.accumulating(last=i == len(parts) - 1):
                with experiment.autocast():
                    objective, nats_N = experiment.parallel.module(
                        tokens[:, :-1], tokens[:, 1:], setup.objective.z_loss
                    )
                torch.autograd.backward(objective / targets)
            nats += nats_N.sum()
            if i == 0 and len(parts) > 1 and experiment.parallel.kind == "none":
                self._telemetry.measure_part(len(part) / len(rows))
        shares = self.world.gather([nats.item() / targets])
        return sum(share for (share,) in shares) / self.world.size

    def _evaluate_if_due(self, log: MetricsLog, stop: StopRequest) -> Views | None:
        if self.evaluated == self.step or not self._is_due(self.experiment.setup.evaluation.every):
            return None
        found = self._measure(stop)
        self.evaluated = self.step
        self._loss = found["eval"][0].nats_per_token
        log.write(
            "evaluation",
            {
                "step": self.step,
                "tokens": self.step * self.experiment.setup.batch.tokens,
                "views": {
                    view: {
                        "nats_per_token": loss.nats_per_token,
                        "bits_per_byte": loss.bits_per_byte,
                    }
                    for view, (loss, _) in found.items()
                },
            },
        )
        loss = found["eval"][0]
        self.progress.say(
            f"step {self.step}: held-out loss {loss.nats_per_token:.4f} nats/token, "
            f"{loss.bits_per_byte:.4f} bits/byte"
        )
        return found

    def _measure(self, stop: StopRequest) -> Views:
        experiment = self.experiment
        with experiment.autocast():
            return measure_views(
                experiment.model,
                experiment.optimizer,
                experiment.held_out,
                experiment.optimizer.views,
                proceed=lambda: self._heed(stop),
                world=self.world,
            )

    def _is_checkpoint_due(self) -> bool:
        checkpoint = self.experiment.setup.checkpoint
        return self._is_due(checkpoint.every) or self.step in checkpoint.milestones

    def _save(self, log: MetricsLog, writer: CheckpointWriter) -> None:
        """Save what there is now, unless the newest checkpoint is just that."""
        self._is_to_save = False
        if self._saved == (self.step, self.evaluated):
            return
        self._saved = self.step, self.evaluated
        mark = log.sync()
        progress: dict[str, Any] = {
            "tokens": self.step * self.experiment.setup.batch.tokens,
            "seconds": self.seconds,
            "evaluated": self.evaluated,
            "metrics_bytes": mark.size,
            "metrics_sha256": mark.sha256,
        }
        loss = self._loss if self.evaluated == self.step else None
        if self.world.is_first or self.experiment.parallel.kind == "fsdp":
            identity = self.run.identity["setup_sha256"]
            taken = take_snapshot(self.experiment, self.step, progress, loss, setup_sha256=identity)
            writer.submit(taken)

    def _write(self, checkpoint: Checkpoint, verify: bool) -> None:
        if self.world.is_first:
            self.run.check_in_place()
        section = self.experiment.setup.checkpoint
        keep = Keep(section.keep_last, section.keep_best, tuple(section.milestones))
        try:
            save_checkpoint(
                self.run.checkpoints, checkpoint, keep=keep, verify=verify, saver=self._saver
            )
        except RunError:
            self.run.check_in_place()  # where that is why, it says more
            raise

    def _diverged(self, number: int, what: str) -> RunError:
        kept = list_checkpoints(self.run.checkpoints)
        saved = f"the checkpoint {kept[0]} is from before it" if kept else "there is no checkpoint"
        return RunError(
            Diagnostic(
                "non-finite",
                f"step {number:,}: {what}; the run stops here, and {saved}",
                hint="resuming would meet it again: start a new run with a smaller learning rate "
                "(`--set lr=...`) or a longer warmup (`--set schedule.warmup_fraction=...`)",
            )
        )


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients so that their joint L2 norm is at most `limit`; return it as it was.

    Of gradients that are spread over processes the norm is that of the whole ones.
    Gradients whose norm is not finite are left as they are.
    """
    parameters = list(parameters)
    norm = whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    if limit is not None and bool(torch.isfinite(norm)):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)
