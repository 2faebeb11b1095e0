"""A second sweep: the best setting of each method, with seeds that had no say in the choice.

The best of a grid is flattered by the seeds that chose it, the more the larger the grid. What a
comparison says holds of fresh seeds only.
"""

from __future__ import annotations

from typing import Any

from optzoo.comparison.ranking import Ranking
from optzoo.errors import Diagnostic, InputError
from optzoo.sweeps.schema import MethodSpec, SweepSpec

SUFFIX = "-confirmed"


def confirmation(spec: SweepSpec, ranking: Ranking, seeds: int) -> SweepSpec:
    """Return the sweep that runs the winner of every grid with `seeds` fresh seeds.

    Methods all of whose settings diverged are left out. Raises InputError when none is left.
    """
    best = {m.method: m.best for m in ranking.methods if m.best is not None}
    methods = []
    for method in spec.methods:
        chosen = best.get(method.label)
        if chosen is not None:
            point = {name: [value] for name, value in chosen.values}
            update = {"name": method.label, "grid": point}
            methods.append(MethodSpec.model_validate({**method.model_dump(), **update}))
    if not methods:
        raise InputError(Diagnostic("unfinished", f"{spec.name}: no method has a finished setting"))
    labels = {method.label for method in methods}
    first = max(spec.seeds) + 1
    changes: dict[str, Any] = {
        "name": spec.name + SUFFIX,
        "summary": f"the best of {spec.name}, with fresh seeds",
        "methods": methods,
        "seeds": list(range(first, first + seeds)),
        "baseline": spec.chosen_baseline if spec.chosen_baseline in labels else None,
        "claims": [c for c in spec.claims if set(c.labels) <= labels],
    }
    return spec.model_copy(update=changes)
