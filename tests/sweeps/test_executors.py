"""SLURM by submitit's own processes, and Ray on two nodes, one of which is removed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optzoo.sweeps.controller import Controller
from optzoo.sweeps.executors.executor import Executor
from optzoo.sweeps.executors.local import LocalExecutor
from optzoo.sweeps.executors.resources import Resources
from optzoo.sweeps.folder import JobState, SweepFolder, write_sweep
from optzoo.sweeps.grid import jobs_of, points_of
from optzoo.sweeps.schema import load_sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def made(path: Path, sweep_file: Path, *, steps: int) -> SweepFolder:
    setup = sweep_file.with_name("tiny.yaml")
    setup.write_text(setup.read_text().replace("steps: 40", f"steps: {steps}"))
    sweep_file.write_text(sweep_file.read_text().replace("seeds: [0, 1]", "seeds: [0]"))
    spec = load_sweep(sweep_file)
    return write_sweep(path, spec, jobs_of(points_of(spec)))


def run(folder: SweepFolder, executor: Executor) -> None:
    states = Controller(folder, executor, lambda task, state: None).run()
    failures = [task.failure for task in folder.tasks]
    assert set(states.values()) == {JobState.DONE}, failures


def views(folder: SweepFolder) -> list[Any]:
    return [json.loads((task.run / "result.json").read_text())["views"] for task in folder.tasks]


def wait_for(what: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def calm(sweep_file_of_module: Path) -> SweepFolder:
    """The same sweep, undisturbed."""
    folder = made(sweep_file_of_module.with_name("calm"), sweep_file_of_module, steps=300)
    run(folder, LocalExecutor(2))
    return folder


def test_slurm_by_submitits_own_processes(
    tmp_path: Path, sweep_file: Path, calm: SweepFolder
) -> None:
    pytest.importorskip("submitit")
    from optzoo.sweeps.executors.slurm import SlurmExecutor

    folder = made(tmp_path / "slurm", sweep_file, steps=300)
    run(folder, SlurmExecutor(folder.path, 2, Resources(), cluster="local"))
    assert views(folder) == views(calm)


def test_a_preempted_slurm_job_saves_and_asks_for_another_turn(
    tmp_path: Path, sweep_file: Path
) -> None:
    pytest.importorskip("submitit")
    from optzoo.sweeps.executors.child import start_child
    from optzoo.sweeps.executors.child import wait_for as wait_for_child
    from optzoo.sweeps.executors.slurm import SlurmWorker

    task = made(tmp_path / "slurm", sweep_file, steps=100_000).tasks[0]
    worker = SlurmWorker(str(task.path), 1)
    worker.child = start_child(task.path, 1)
    wait_for(lambda: task.step > 0)
    again = worker.checkpoint()
    assert worker.child.poll() not in (None, -9)
    assert task.state is JobState.BEGUN
    assert task.failure is None
    assert type(again).__name__ == "DelayedSubmission"
    assert wait_for_child(worker.child) == worker.child.returncode


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_a_ray_node_that_dies_loses_nothing(
    tmp_path: Path, sweep_file: Path, calm: SweepFolder, cluster: Any
) -> None:
    from optzoo.sweeps.executors.ray_core import RayExecutor

    dying = cluster.add_node(num_cpus=1)
    folder = made(tmp_path / "ray", sweep_file, steps=300)
    executor = RayExecutor(2, Resources(), address=cluster.address)
    executor.submit(folder.tasks[:1])
    wait_for(lambda: folder.tasks[0].step > 0)
    cluster.add_node(num_cpus=1)
    cluster.remove_node(dying, allow_graceful=False)
    run(folder, executor)
    assert views(folder) == views(calm)
