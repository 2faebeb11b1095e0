"""The result of a run: `result.json`, there only when the run has finished, and sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optzoo.errors import Diagnostic, InputError, check_version
from optzoo.files.sealed import DamagedFileError, read_object, seal, unseal
from optzoo.train.runs.directory import RunDirectory, check_fields

RESULT = "result.json"
RESULT_FORMAT_VERSION = 2
"""1 has no seal, no setup and no changes."""

NUMBER: Any = int | float
FIELDS: dict[str, Any] = {
    "recipe": str,
    "recipe_digest": str,
    "setup": str,
    "seed": int,
    "steps": int,
    "tokens": int,
    "seconds": NUMBER,
    "parameters": int,
    "corpus": dict,
    "views": dict,
}
LOSSES: dict[str, Any] = {"nats_per_token": NUMBER, "bits_per_byte": NUMBER, "weights_sha256": str}


def write_result(run: RunDirectory, values: Mapping[str, Any]) -> None:
    """Say that a run has finished. Raises RunError as `run.write` does."""
    run.write(RESULT, seal({"format_version": RESULT_FORMAT_VERSION, **values}))


def read_result(run: RunDirectory) -> dict[str, Any] | None:
    """Return the result of a run, None where it has none yet. Raises InputError for a damaged one.

    A result of fewer steps than the run is now to take is none: it goes on.
    """
    path = run.path / RESULT
    try:
        result = read_object(path)
        check_fields(result, {"format_version": int})
        check_version(f"{path} has result format", result["format_version"], RESULT_FORMAT_VERSION)
        result = unseal(result, RESULT, always=result["format_version"] >= 2)
        check_fields(result, FIELDS)
        check_fields(result["corpus"], {"title": str, "fingerprint": str})
        check_fields(result["views"], dict.fromkeys(("eval", *result["views"]), dict))
        for losses in result["views"].values():
            check_fields(losses, LOSSES)
    except FileNotFoundError:
        return None
    except (DamagedFileError, OSError) as error:
        raise InputError(
            Diagnostic(
                "damaged-result",
                f"{path} is damaged: {getattr(error, 'strerror', None) or error}",
                hint=f"delete it, and measure again from the last checkpoint: `optzoo train "
                f"--resume {run.path}`",
            )
        ) from None
    return result if result["steps"] >= run.recorded_setup().num_steps else None


def set_aside(run: RunDirectory) -> None:
    """Keep the result of a run that goes on under another name. Raises OSError."""
    path = run.path / RESULT
    try:
        steps = read_object(path).get("steps")
    except FileNotFoundError:
        return
    except DamagedFileError:
        steps = None
    known = isinstance(steps, int) and 0 <= steps < 10**12
    path.rename(run.path / (f"result-step-{steps:08d}.json" if known else "result-damaged.json"))
