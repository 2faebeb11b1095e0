"""Numbers of the whole model: sums over the elements of all parameters that step now.

A recipe's `model` section is scalars that read such sums. They are added up in float64 before a
parameter moves, one after another: each may need numbers that the one before has made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from optzoo.engines.engine import Batch
from optzoo.engines.matrices.matrix_values import MatrixDomain
from optzoo.engines.matrices.stack import Stack, stacks
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.optimizer.grouping import Clock, GroupPlan, GroupRun
from optzoo.program.arithmetic import FloatDomain, NotRealError
from optzoo.program.domain import evaluate, run_known, run_lines
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import MODEL_STEP, Line, Program, line_scope, lines_needed
from optzoo.program.ops import Scope

_FLOATS = FloatDomain()

Due = tuple[GroupRun, GroupPlan, Clock, dict[Name, float]]
"""What a step does at one time of a group: the plan, the parameters there, and its scalars."""


@dataclass
class Pending:
    """Parameters of one group and time that step now: what their numbers are computed from.

    `inputs` and `memory` are as `CheckedScalars` takes them; `batches` are the parts of the clock
    with this step's gradients.
    """

    run: GroupRun
    plan: GroupPlan
    clock: Clock
    inputs: dict[str, float]
    memory: Mapping[str, float]
    batches: Sequence[Batch]


def pool(pending: Sequence[Pending]) -> None:
    """Add the sums over all parameters to the inputs of those whose program has some.

    Who steps for the first time beside others takes over what these remember of the whole model.
    """
    rules: dict[str, list[Pending]] = {}
    for each in pending:
        if each.plan.program.pooled:
            rules.setdefault(each.plan.program.name, []).append(each)
    for members in rules.values():
        leader = max(members, key=lambda each: each.clock.t)
        shared = model_states(leader.plan.program)
        kept = {name: leader.memory[name] for name in shared}
        for each in members:
            each.inputs[MODEL_STEP.id] = float(leader.clock.t + 1)
            if each.clock.t < leader.clock.t:
                each.memory = {**each.memory, **kept}
        for k in range(len(leader.plan.program.pooled)):
            total = sum(_sum(each, each.plan.program.pooled[k]) for each in members)
            for each in members:
                each.inputs[each.plan.program.pooled[k].target.id] = total


def numbers_of(pending: Pending) -> Due:
    """Return what is to be done for parameters in this step, all its numbers computed.

    Raises RunError for one that has no value.
    """
    run, plan, clock = pending.run, pending.plan, pending.clock
    narrow = any(part.params[0].dtype != torch.float64 for part in clock.parts)
    try:
        scalars = plan.scalars(pending.inputs, pending.memory, narrow=narrow)
    except NotRealError as error:
        raise RunError(run.plans.recipe.diagnostic(error)) from None
    return run, plan, clock, scalars


def model_states(program: Program) -> set[str]:
    """Return the scalars with memory that follow from sums over all parameters."""
    found = {line.target for line in program.pooled}
    for line in program.scalars:
        if found & set(names_in(line.expr)):
            found.add(line.target)
    return {state.name for state in program.scalar_states if Name(state.name) in found}


def _sum(pending: Pending, line: Line) -> float:
    """Return the sum of a line's tensor over the parameters of one group and time."""
    program = pending.plan.program
    scalars = run_known(program, _FLOATS, pending.inputs, pending.memory)
    lines = lines_needed(program.step, names_in(line.expr))
    total = torch.zeros((), dtype=torch.float64)
    for batch in pending.batches:
        scopes = [line_scope(each.expr) for each in (*lines, line)]
        if batch.shards is not None and max(scopes) is not Scope.ELEMENTWISE:
            message = f"`{line.target}` sums up what needs whole tensors, and these are spread"
            raise InputError(Diagnostic("sharded-sum", message))
        found = _sum_of_batch(program, line, lines, batch, scalars)
        if batch.shards is not None:
            for dim, placement in enumerate(batch.shards.placements):
                if not placement.is_replicate():
                    dist.all_reduce(found, group=batch.shards.mesh.get_group(dim))
        total = total + found.cpu()
    return float(total)


def _sum_of_batch(
    program: Program,
    line: Line,
    lines: Sequence[Line],
    batch: Batch,
    scalars: Mapping[Name, float],
) -> Tensor:
    domain = MatrixDomain(batch.dtype)
    total = torch.zeros((), dtype=torch.float64, device=batch.params[0].device)
    for members in stacks(batch.params):
        values: dict[Name, Any] = dict(scalars)
        stack = Stack(program, batch, members)
        values |= {name: stack.entry(name) for name in stack.homes}
        run_lines(lines, domain, values)
        found = evaluate(line.expr, domain, values)
        # a size is one number of each parameter
        total += found.double().sum() if isinstance(found, Tensor) else found * len(members)
    return total
