"""Which parameters of a model or of a group take which rule of a recipe: for an optimizer, to see.

A route that takes the wrong tensor trains without a word, so what goes where can be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from optzoo.errors import Diagnostic, InputError
from optzoo.optimizer.kinds import subject_of, subjects_of
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.recipe.routes import Subject
from optzoo.tables import align_records


@dataclass(frozen=True)
class RoutedParameter:
    """A parameter, and the rule that it takes."""

    name: str
    kind: str
    shape: tuple[int, ...]
    rule: str
    program: str

    @property
    def size(self) -> int:
        """The number of its elements."""
        size = 1
        for side in self.shape:
            size *= side
        return size


class RoutingTable(Sequence[RoutedParameter]):
    """Where the parameters of a model go, in their order; printed it is a table."""

    def __init__(self, rows: Sequence[RoutedParameter]) -> None:
        self.rows = tuple(rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[RoutedParameter]:
        return iter(self.rows)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as plain values."""
        return [
            {
                "name": row.name,
                "kind": row.kind,
                "shape": list(row.shape),
                "rule": row.rule,
                "program": row.program,
            }
            for row in self.rows
        ]

    def __str__(self) -> str:
        shown = [
            {**record, "shape": " x ".join(map(str, record["shape"])) or "1"}
            for record in self.records()
        ]
        return "\n".join(align_records(shown))


def routes(recipe: Recipe | str | Path, params: Any) -> RoutingTable:
    """Return which rule of a recipe each parameter takes.

    `recipe` may be a shipped name or a path, and `params` is what `Recipe.build` takes: a model,
    (name, parameter) pairs, parameters, or groups of them. Raises InputError for a parameter that
    no route takes, and for what is none.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    programs = {rule.label: rule.program().name for rule in recipe.rules}
    rows = []
    for i, (subject, param) in enumerate(_subjects(params)):
        label = recipe.routing.rule_of(subject, recipe.name)
        name = subject.name if subject.name is not None else f"parameter {i}"
        kind = " or ".join(subject.kinds)
        rows.append(RoutedParameter(name, kind, tuple(param.shape), label, programs[label]))
    return RoutingTable(rows)


def _subjects(params: Any) -> Iterator[tuple[Subject, Tensor]]:
    if isinstance(params, nn.Module):
        yield from subjects_of(params)
        return
    if isinstance(params, Tensor | str | Mapping) or not isinstance(params, Iterable):
        raise _no_parameters(params)
    for each in params:
        if isinstance(each, Mapping) and "params" in each:  # a group
            own, names = each["params"], each.get("param_names")
            members = [own] if isinstance(own, Tensor) else list(own)
            yield from _subjects(zip(names, members, strict=True) if names else members)
            continue
        name, param = each if isinstance(each, tuple) and len(each) == 2 else (None, each)
        if not isinstance(param, Tensor) or not isinstance(name, str | None):
            raise _no_parameters(each)
        yield subject_of(name, param), param


def _no_parameters(given: object) -> InputError:
    message = f"a {type(given).__name__} is neither a model nor parameters"
    hint = "pass a model, `model.named_parameters()`, parameters, or parameter groups"
    return InputError(Diagnostic("bad-param", message, hint=hint))


def with_kinds(
    params: Any, model: nn.Module | None, recipe: Recipe
) -> tuple[Any, dict[Tensor, Subject]]:
    """Return what an optimizer is given, a model as named parameters, and what they are in it."""
    if isinstance(params, nn.Module):
        model, params = params, list(params.named_parameters())
    if model is None or not recipe.is_routed:
        return params, {}
    return params, {param: what for what, param in subjects_of(model)}


def rules_for(
    group: Mapping[str, Any], recipe: Recipe, kinds: Mapping[Tensor, Subject]
) -> list[str]:
    """Return the label of the rule that each parameter of a group takes.

    `kinds` is what is known of a model. Raises InputError for one that no route takes.
    """
    params: list[Tensor] = group["params"]
    names: list[str | None] = list(group.get("param_names") or [None] * len(params))
    labels = []
    for name, param in zip(names, params, strict=True):
        if is_lazy(param):
            message = f"`{name or 'a parameter'}` has no shape yet, and routes need to know it"
            hint = "run the model once before the optimizer is built"
            raise InputError(Diagnostic("bad-param", message, hint=hint))
        what = kinds[param] if param in kinds else subject_of(name, param)
        labels.append(recipe.routing.rule_of(what, recipe.name))
    return labels
