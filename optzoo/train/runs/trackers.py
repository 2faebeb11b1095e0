"""Other places that a run's metrics go to: TensorBoard, Weights & Biases, trackio.

Each is an optional package, imported when a run asks for it in `metrics.track`. The metrics file is
always written; a tracker that fails while a run goes on is dropped with a warning and never stops
it. Trackers are told of every `metrics.every`-th step, of speeds and of every evaluation.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.train.runs.directory import run_id

PROJECT = "optzoo"


class Tracker(Protocol):
    """One destination."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Take numbers by name, at a step."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class TensorBoard:
    """Event files in the run's own `tensorboard/`; what came after `step` is overwritten."""

    def __init__(self, path: Path, config: dict[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(path / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write each number as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project `optzoo`; resuming goes on with the same one."""

    def __init__(self, path: Path, config: dict[str, Any], step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run: Any = wandb.init(
            project=PROJECT,
            name=path.name,
            id=_identity(path),
            resume="allow",
            dir=str(path),
            config=config,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send the numbers."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Trackio:
    """A run of the local trackio project `optzoo`."""

    def __init__(self, path: Path, config: dict[str, Any], step: int) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(project=PROJECT, name=_identity(path), resume="allow", config=config)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send the numbers."""
        self._trackio.log(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._trackio.finish()


TRACKERS: dict[str, Callable[[Path, dict[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
"""By the name of their package."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise InputError when a package is missing, with the command that installs all of them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        words = " and ".join(f"`{name}`" for name in missing)
        raise InputError(
            Diagnostic(
                "no-package",
                f"the run is to be tracked by {words}, which is not installed",
                hint=f"pip install {' '.join(missing)}",
            )
        )


class Tracking:
    """The trackers of a run, told of each line of its metrics."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        path: Path,
        config: dict[str, Any],
        step: int,
        every: int,
        warn: Callable[[str], None],
    ) -> None:
        self._every = every
        self._warn = warn
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            try:
                self._trackers[name] = TRACKERS[name](path, config, step)
            except Exception as error:
                self.close()
                raise RunError(
                    f"{name} could not start: {error}",
                    hint="set it up (for wandb: `wandb login`, or WANDB_MODE=offline), or leave "
                    "it out of `--track`",
                ) from None

    def record(self, kind: str, values: dict[str, Any]) -> None:
        """Pass a line of the metrics on."""
        if kind == "step" and values["step"] % self._every:
            return
        numbers = dict(flatten(kind, values))
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.log(values["step"], numbers)
            except Exception as error:
                del self._trackers[name]
                self._warn(f"{name} is dropped, the run goes on without it: {error}")

    def close(self) -> None:
        """Close every tracker."""
        for name, tracker in self._trackers.items():
            try:
                tracker.close()
            except Exception as error:
                self._warn(f"{name} could not be closed: {error}")


def flatten(kind: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (name, number): `train/loss`, `speed/mfu`, `evaluation/VIEW/nats_per_token`."""
    group = "train" if kind == "step" else kind
    for name, value in values.items():
        if name == "views":
            for view, losses in value.items():
                for unit, loss in losses.items():
                    yield f"{group}/{view}/{unit}", loss
        elif name not in ("step", "tokens"):
            yield f"{group}/{name}", value


def _identity(path: Path) -> str:
    """Return a name that this run keeps when it is resumed, and no other run has."""
    return f"{path.name}-{run_id(path)[:8]}"
