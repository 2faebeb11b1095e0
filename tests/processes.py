"""Several processes that talk over gloo, forked from one server that has imported torch already.

`run_processes` calls a function of a test module once per rank and gives back what each returned; a
failure in any of them is raised with its traceback. It costs one import of torch per test process
and milliseconds per rank after that.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

PRELOADED = ["torch", "torch.distributed.fsdp", "torch.distributed.checkpoint"]
PRELOADED += ["torch._dynamo", "optzoo.train.session", "optzoo.train.runs.loss_figure"]
PATIENCE = 60.0


def run_processes(world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what `work(rank, world, *arguments)` returned on each rank."""
    context = forkserver()
    port = free_port()
    pipes, processes = [], []
    for rank in range(world):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(theirs, rank, world, port, work, arguments))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    outcomes = []
    for pipe in pipes:
        try:
            outcomes.append(pipe.recv() if pipe.poll(PATIENCE) else (False, "it hangs"))
        except EOFError:
            outcomes.append((False, "it died"))
    for process in processes:
        process.join(5.0)
        if process.is_alive():
            process.kill()
    failures = [f"rank {rank}: {text}" for rank, (good, text) in enumerate(outcomes) if not good]
    assert not failures, "\n".join(failures)
    return [value for _, value in outcomes]


def forkserver() -> ForkServerContext:
    """Return what starts processes that have imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


def _child(
    pipe: Connection,
    rank: int,
    world: int,
    port: int,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    faulthandler.dump_traceback_later(PATIENCE - 5.0, exit=True)  # say where it hangs
    import torch

    torch.set_num_threads(1)
    try:
        pipe.send((True, work(rank, world, *arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
