"""What a run says when it has taken its last step: the result first, then what adorns it.

Once `result.json` is written the run has finished. A sample or a figure that fails is a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optzoo.errors import InputError
from optzoo.train.experiment import Experiment
from optzoo.train.model.sample import draw_text
from optzoo.train.runs.directory import RunDirectory
from optzoo.train.runs.result import write_result
from optzoo.train.trainer import Trainer, Views

Warn = Callable[[str], None]


def describe_views(found: Views) -> dict[str, dict[str, Any]]:
    """Return losses and weight hashes by view, as JSON values."""
    return {
        view: {
            "nats_per_token": loss.nats_per_token,
            "bits_per_byte": loss.bits_per_byte,
            "weights_sha256": identity,
        }
        for view, (loss, identity) in found.items()
    }


def finish_run(trainer: Trainer, views: Views, *, warn: Warn) -> tuple[dict[str, Any], str]:
    """Write result, sample and figure of a run; return the result and the sample.

    All processes of a run call this, and the first one writes. Raises RunError when the result
    cannot be written.
    """
    experiment, run = trainer.experiment, trainer.run
    setup = experiment.setup
    result = {
        "recipe": experiment.recipe.name,
        "recipe_digest": experiment.recipe.digest,
        "setup": setup.name,
        "setup_sha256": run.identity["setup_sha256"],
        "seed": setup.seed,
        "steps": trainer.step,
        "tokens": trainer.step * setup.batch.tokens,
        "seconds": round(trainer.seconds, 3),
        "parameters": experiment.model.count_parameters(),
        "corpus": dict(run.identity["corpus"]),
        "views": describe_views(views),
        "changes": run.identity["changes"],
    }
    if experiment.world.is_first:
        write_result(run, result)
    sample = ""

    def draw_sample() -> None:
        nonlocal sample
        sample = _draw_sample(experiment)

    _adorn("sample.txt", draw_sample, warn)
    if experiment.world.is_first:
        _adorn("sample.txt", lambda: run.write("sample.txt", sample.encode()), warn)
        _adorn("loss.png", lambda: run.write("loss.png", _draw(experiment, run, warn)), warn)
    return result, sample


def _adorn(name: str, work: Callable[[], None], warn: Warn) -> None:
    """Do what a run can do without; whatever fails there is a warning."""
    try:
        work()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        warn(f"{name} is left out, the result is not touched: {lines[0]}")


def _draw_sample(experiment: Experiment) -> str:
    sample = experiment.setup.sample
    try:
        with experiment.optimizer.evaluation(), experiment.autocast():
            return draw_text(
                experiment.model,
                experiment.corpus,
                prompt=sample.prompt,
                num_bytes=sample.bytes,
                temperature=sample.temperature,
                seed=experiment.setup.seed,
                window=experiment.setup.batch.sequence_length,
            )
    except InputError as error:  # the tokenizer's package is not here: the run is still good
        return f"(no sample: {error.diagnostics[0].message})"


def _draw(experiment: Experiment, run: RunDirectory, warn: Warn) -> bytes:
    from optzoo.train.runs.loss_figure import draw_losses

    setup = experiment.setup
    return draw_losses(
        run.metrics,
        title=f"{experiment.recipe.name}, setup {setup.name}, seed {setup.seed}",
        subtitle=f"{experiment.model.count_parameters():,} parameters, "
        f"{setup.batch.tokens:,} tokens a step; "
        f"{'not C4: ' if setup.data.corpus else ''}{experiment.corpus.title}",
        warn=warn,
    )
