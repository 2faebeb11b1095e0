"""What changed in a run on its way: written down when it is resumed, before it goes on.

    changes: [{after_step, command, setup: {FIELD: [BEFORE, AFTER]}, versions: {NAME: [...]}}]

`setup.yaml` is written first, then `run.json`, then an older result steps aside: killed in between,
the next resume finds the same change to make.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

from optzoo.files.atomic import to_json
from optzoo.files.sealed import DamagedFileError, read_object, seal
from optzoo.recipe.recipe import Recipe
from optzoo.train.runs.beginning import reporting
from optzoo.train.runs.directory import (
    RUN_FORMAT_VERSION,
    RunDirectory,
    describe_environment,
    recipe_asks,
    run_id,
)
from optzoo.train.runs.result import set_aside
from optzoo.train.setup.identity import hash_setup, recorded_values, setup_changes
from optzoo.train.setup.schema import Setup

VERSIONS = ("optzoo", "python", "torch", "numpy", "machine")
"""What of the environment may change the last bits."""


def record_resume(
    run: RunDirectory, recipe: Recipe, setup: Setup, step: int, *, warn: Callable[[str], None]
) -> RunDirectory:
    """Return the run as it goes on after `step` steps with `setup`, its files brought up to date.

    `warn` is told of each change. Raises RunError or InputError when the disk does not take it.
    """
    found = {change.path: change for change in setup_changes(run.recorded_setup(), setup)}
    versions = _changed_versions(run, warn)
    if found:
        listed = ", ".join(map(str, found.values()))
        warn(f"the setup changed after step {step:,}, which run.json records: {listed}")
    if any(path.startswith("budget.") for path in found):
        warn(
            f"schedules of the learning rate and of the recipe go on as in a run of "
            f"{setup.num_steps:,} steps; to end where it was to end, resume without the change"
        )
    if versions:
        listed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in versions.items())
        warn(f"this run goes on under another {listed}: the last bits may differ")
    identity = dict(run.identity) if run.is_sealed else _sealed_identity(run, recipe, setup)
    if found or versions:
        change = {
            "after_step": step,
            "command": shlex.join(["optzoo", *sys.argv[1:]]),
            "setup": {path: [change.before, change.after] for path, change in found.items()},
            "versions": versions,
        }
        identity["changes"] = [*identity["changes"], change]
        identity["setup_values"] = recorded_values(setup)
    newer = RunDirectory(run.path, identity)
    with reporting(run.path):
        if found or not (run.path / "setup.yaml").exists():
            newer.replace("setup.yaml", setup.to_yaml().encode())
        if identity != run.identity:
            newer.replace("run.json", seal(identity))
        if versions:
            newer.replace("versions.json", to_json(describe_environment()))
        set_aside(newer)
    return newer


def _sealed_identity(run: RunDirectory, recipe: Recipe, setup: Setup) -> dict[str, Any]:
    """Return the identity of a run of format 1, with what is known of it now."""
    return {
        "command": "",
        **run.identity,
        "format_version": RUN_FORMAT_VERSION,
        "id": run_id(run.path),
        "recipe_asks": recipe_asks(recipe),
        "given_asks": {},
        "setup_sha256": hash_setup(setup),
        "setup_values": recorded_values(setup),
        "changes": [],
    }


def _changed_versions(run: RunDirectory, warn: Callable[[str], None]) -> dict[str, list[str]]:
    """Return the versions that are no longer those of the run: before, and now."""
    path = run.path / "versions.json"
    try:
        known: Mapping[str, Any] = read_object(path)
    except FileNotFoundError:
        known = {}
    except (OSError, DamagedFileError) as error:
        warn(f"{path} cannot be read, and is written anew: {error}")
        known = {}
    now = describe_environment()
    return {
        name: [str(known.get(name, "unknown")), str(now[name])]
        for name in VERSIONS
        if known.get(name) != now[name]
    }
