"""Ordering: put assignments so that each name is assigned before it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optzoo.program.check import Fault
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import Line
from optzoo.program.reading import STARTS

MOVED = Name("moved")
"""The point after the step, as recipes call it."""
_STARTS = [(key,) for key in STARTS]


class LoweringError(Exception):
    """A recipe that has no program; carries every fault found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


def ordered(lines: Mapping[Name, Line]) -> tuple[Line, ...]:
    """Order lines by what they read, keeping the given order where it is free.

    Raises LoweringError when names depend on one another in a circle.
    """
    result: list[Line] = []
    done: set[Name] = set()
    for start in lines:
        # (name, rest of its reads): an explicit stack, so that depth is no limit
        path: list[Name] = [start]
        while path:
            name = path[-1]
            unmet = [n for n in names_in(lines[name].expr) if n in lines and n not in done]
            if name in done or not unmet:
                path.pop()
                if name not in done:
                    done.add(name)
                    result.append(lines[name])
                continue
            if unmet[0] in path:
                raise LoweringError([_circle([*path[path.index(unmet[0]) :], unmet[0]], lines)])
            path.append(unmet[0])
    return tuple(result)


def ordered_sums(
    sums: Mapping[Name, Line], scalars: Sequence[Line], step: Sequence[Line]
) -> tuple[Line, ...]:
    """Order sums over all parameters so that each needs those before it alone.

    Raises LoweringError where some need one another.
    """
    lines = {line.target: line for line in (*scalars, *step)}

    def needs(line: Line) -> set[Name]:
        seen: set[Name] = set()
        stack = list(names_in(line.expr))
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack += names_in(lines[name].expr) if name in lines else ()
        return seen & sums.keys()

    waiting, found = {target: needs(line) for target, line in sums.items()}, list[Line]()
    while waiting:
        ready = [target for target, needed in waiting.items() if not needed & waiting.keys()]
        if not ready:
            first = sums[next(iter(waiting))]
            message = "this sum over all parameters needs itself"
            hint = "let the tensors in it read previous values, such as `d.prev`"
            raise LoweringError([Fault("cycle", message, first.source, hint=hint)])
        found += [sums[target] for target in ready]
        for target in ready:
            del waiting[target]
    return tuple(found)


def _circle(path: Sequence[Name], lines: Mapping[Name, Line]) -> Fault:
    began = next((name for name in path if lines[name].source[-1:] in _STARTS), None)
    if began is not None:
        loc = lines[began].source
        message = f"where `{loc[-2]}` starts needs `{loc[-2]}` itself"
        hint = f"`{loc[-1]}` comes before that: let it read `grad`, `param` or numbers"
        return Fault("cycle", message, loc, hint=hint)
    if MOVED in path:
        reader = path[path.index(MOVED) - 1] if path[0] != MOVED else path[-2]
        message = "`moved` is the point after the step, and the step needs this"
        hint = (
            "read `param`, the point before it; `point`, and buffers it does not read, see `moved`"
        )
        return Fault("cycle", message, lines[reader].source, hint=hint)
    chain = " -> ".join(f"`{name}`" for name in path)
    hint = f"let one of them read a previous value, such as `{path[0].id}.prev`"
    return Fault("cycle", f"these need one another: {chain}", lines[path[0]].source, hint=hint)
