"""Routes: which parameters of a model take which of a recipe's rules.

A rule is what a step does: the recipe's own (`here`), one of its parts, or another recipe's. Rules
have specs and documents of their own; `optzoo.recipe.rules` makes programs of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.files.documents import Document, Loc, validate_document
from optzoo.files.overlays import part_of_document
from optzoo.program.check import Fault
from optzoo.program.expressions import Expr, format_expression, names_in
from optzoo.recipe.inheritance import part_of_recipe
from optzoo.recipe.lower import IMPLICIT_LR
from optzoo.recipe.names import check_names
from optzoo.recipe.schema import HERE, RecipeSpec, RouteSpec
from optzoo.recipe.values import why_illegal

_NOT_IN_RULES = ("extends", "parts", "routes")


@dataclass(frozen=True)
class Subject:
    """What a route is asked about: a parameter's name, if it has one, and number of axes.

    `kinds` is what it may be; a bare vector may be a norm or a bias.
    """

    name: str | None
    kinds: tuple[str, ...]
    rank: int

    def __str__(self) -> str:
        axes = "axis" if self.rank == 1 else "axes"
        who = "a parameter without a name" if self.name is None else f"`{self.name}`"
        return f"{who} ({' or '.join(self.kinds)}, {self.rank} {axes})"


@dataclass(frozen=True)
class Route:
    """Those parameters that meet all of what is asked for take the rule called `rule`."""

    rule: str
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()

    def takes(self, subject: Subject) -> bool:
        """Return whether a parameter goes this way, unless an earlier route has taken it."""
        name = subject.name
        return (
            (not self.kinds or any(kind in self.kinds for kind in subject.kinds))
            and (not self.ranks or subject.rank in self.ranks)
            and (
                not self.names
                or (name is not None and any(fnmatchcase(name, p) for p in self.names))
            )
        )

    @property
    def wishes(self) -> tuple[tuple[str | int, ...], ...]:
        """What a parameter must be: kinds, patterns of names, ranks; nothing is anything."""
        return self.kinds, self.names, self.ranks

    @property
    def asked(self) -> str:
        """What a parameter must be, as text."""
        pairs = zip(("kind", "name", "rank"), self.wishes, strict=True)
        asked = [f"{what} {', '.join(map(str, wish))}" for what, wish in pairs if wish]
        return " and ".join(asked) or "anything"


@dataclass(frozen=True)
class Rule:
    """A rule of a recipe and where it comes from.

    `source` is the recipe that it is a rule of, `sets` gives its hyperparameters as expressions in
    those of the recipe with the routes, `loc` is the route that says so, and `part` its part.
    """

    label: str
    source: str
    spec: RecipeSpec
    document: Document = field(repr=False, compare=False)
    sets: Mapping[str, Expr] = field(default_factory=dict)
    loc: Loc = ()
    part: str | None = None

    @property
    def settings(self) -> str:
        """What the route sets, as text."""
        return ", ".join(f"{n}={format_expression(e)}" for n, e in self.sets.items())


@dataclass(frozen=True)
class Routing:
    """The routes of a recipe in order, and its rules by label; without routes all is `here`."""

    routes: tuple[Route, ...] = (Route(HERE),)
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def table(self) -> list[dict[str, Any]]:
        """Return the routes in order as plain values: what they take, by which rule, of whom."""
        rows = []
        for i, route in enumerate(self.routes, start=1):
            rule = self.rules.get(route.rule)
            settings = {n: format_expression(e) for n, e in rule.sets.items()} if rule else {}
            row = {"route": i, "takes": route.asked, "rule": route.rule}
            rows.append({**row, "of": rule.spec.name if rule else "", "set": settings})
        return rows

    def rule_of(self, subject: Subject, recipe: str) -> str:
        """Return the label of the rule that a parameter takes.

        Raises InputError where no route fits, with the routes that there are.
        """
        for route in self.routes:
            if route.takes(subject):
                return route.rule
        known = "; ".join(f"{route.asked} -> {route.rule}" for route in self.routes)
        hint = f"routes: {known}"
        if subject.name is None:
            hint += "; names and kinds are known of a model: `recipe.build(model)`"
        message = f"{recipe} has no route for {subject}"
        raise InputError(Diagnostic("no-route", message, hint=hint))


def format_routes(routing: Routing) -> list[str]:
    """Return the routes as lines of a table."""
    rows = [("route", "takes", "rule", "set")]
    for row in routing.table():
        settings = ", ".join(f"{name}={text}" for name, text in row["set"].items())
        rows.append((str(row["route"]), row["takes"], row["rule"], settings))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def routing_of(spec: RecipeSpec, document: Document) -> Routing:
    """Return the routes and rules of a flattened recipe.

    Raises InputError with the mistakes of routes, parts and recipes that are used, but for those of
    their programs.
    """
    if not spec.routes:
        if spec.parts:
            _refuse(document, [_unused_part(name) for name in spec.parts])
        return Routing()
    rules: dict[str, Rule] = {HERE: Rule(HERE, spec.name, spec, document)}
    labels: dict[tuple[Any, ...], str] = {(HERE, ""): HERE}
    routes: list[Route] = []
    for i, route in enumerate(spec.routes):
        sets = {name: format_expression(expr) for name, expr in route.set.items()}
        key = (str(route.use), str(sets) if sets else "")
        if key not in labels:
            rule = _rule(spec, document, i, route, rules)
            labels[key] = rule.label
            rules[rule.label] = rule
        asked = tuple(route.kind or ()), tuple(route.name or ()), tuple(route.rank or ())
        routes.append(Route(labels[key], *asked))
    if HERE in spec.parts:
        message = f"`{HERE}` is the recipe itself, and no part of it"
        _refuse(document, [Fault("bad-value", message, ("parts", HERE), at_key=True)])
    used = {route.use for route in spec.routes if isinstance(route.use, str)}
    faults = [_unused_part(name) for name in spec.parts if name not in used]
    _refuse(document, [*faults, *_unreached(routes), *_bad_settings(spec, rules)])
    return Routing(tuple(routes), rules)


def _rule(
    spec: RecipeSpec, document: Document, i: int, route: RouteSpec, known: Mapping[str, Rule]
) -> Rule:
    loc: Loc = ("routes", i)
    part = None
    if route.use == HERE:
        source, own, found = HERE, spec, document
    else:
        if isinstance(route.use, str):
            source = part = route.use
            found = part_of_recipe(document, part)
        else:
            source, found = str(route.use["name"]), part_of_document(document, (*loc, "use"))
            extra = [key for key in _NOT_IN_RULES if key in found.data]
            _refuse(found, [_not_written_in_place(key) for key in extra])
        own = validate_document(found, RecipeSpec, what="recipe")
        _refuse(found, check_names(own))
    label, number = source, 1
    while label in known:
        number += 1
        label = f"{source}_{number}"
    return Rule(label, own.name, own, found, dict(route.set), loc, part)


def _refuse(document: Document, faults: Sequence[Fault]) -> None:
    if faults:
        raise InputError(*(diagnostic_of(fault, document) for fault in faults))


def diagnostic_of(fault: Fault, document: Document) -> Diagnostic:
    """Return what is wrong with a recipe, with its place in the document."""
    offset, width = fault.span
    value: Any = document.data
    for part in fault.source:
        known = isinstance(value, dict | list) and (part in value or isinstance(part, int))
        value = value[part] if known else None
    if not isinstance(value, str):
        offset, width = 0, 0
    where = document.location(fault.source, key=fault.at_key, offset=offset, width=width)
    return Diagnostic(fault.code, fault.message, where, fault.hint)


def diagnostic_of_rule(fault: Fault, document: Document, rule: Rule | None) -> Diagnostic:
    """Return what is wrong with a rule of a recipe, or with the recipe itself.

    Faults at `routes` and `observers` stand in the recipe's document. What is inherited and no
    longer read is told to who changed it.
    """
    is_ours = fault.source[:1] in (("routes",), ("observers",))
    found = diagnostic_of(fault, document if rule is None or is_ours else rule.document)
    if not fault.code.startswith("unused") or len(fault.source) < 2 or found.location is None:
        return found
    section, name = fault.source[:2]
    if rule is not None and rule.part is not None:
        is_own = name in (document.data["parts"][rule.part].get(section) or {})
        heir = document.location(("parts", rule.part), key=True)
    else:
        is_own = found.location.path == document.path or (rule is not None and rule.label != HERE)
        heir = document.location(("extends",))
    if is_own:
        return found
    message = f"{found.message} after these changes: it is written at {found.location}"
    hint = f"use it, or remove it: `{section}: {{{name}: null}}`"
    return Diagnostic(found.code, message, heir, hint)


def _unused_part(name: str) -> Fault:
    hint = "let a route use it, or remove it"
    return Fault(
        "unused-name", f"no route uses the part `{name}`", ("parts", name), (0, 0), hint, True
    )


def _not_written_in_place(key: str) -> Fault:
    message = f"a recipe that is written in place has no `{key}`"
    return Fault("unknown-key", message, (key,), at_key=True)


def _unreached(routes: Sequence[Route]) -> Iterator[Fault]:
    """Yield routes that come after one which takes all that they ask for."""
    for i, route in enumerate(routes):
        for j, before in enumerate(routes[:i]):
            if all(
                not wide or (own and set(own) <= set(wide))
                for wide, own in zip(before.wishes, route.wishes, strict=True)
            ):
                message = f"this route is never reached: route {j + 1} takes {before.asked} before"
                hint = "put it first, or remove it"
                yield Fault("unreached", message, ("routes", i), hint=hint)
                break


def _bad_settings(spec: RecipeSpec, rules: Mapping[str, Rule]) -> Iterator[Fault]:
    ours = {name: hyper.interval for name, hyper in spec.hyperparameters.items()}
    ours.setdefault("lr", IMPLICIT_LR.interval)
    for rule in rules.values():
        theirs = rule.spec.hyperparameters
        for name, expr in rule.sets.items():
            loc: Loc = (*rule.loc, "set", name)
            if name not in theirs and name != "lr":
                message = f"`{name}` is not a hyperparameter of {rule.source}"
                hint = did_you_mean(name, theirs, what="hyperparameters")
                yield Fault("unknown-name", message, loc, (0, 0), hint, True)
                continue
            unknown = [
                n for n in names_in(expr) if n.when != "now" or n.id not in {*ours, "t", "T"}
            ]
            for read in unknown:
                message = f"`set` reads hyperparameters of {spec.name}, `t` and `T`, not `{read}`"
                yield Fault("unknown-name", message, loc, read.span, did_you_mean(read.id, ours))
            interval = theirs[name].interval if name in theirs else IMPLICIT_LR.interval
            reason = None if unknown else why_illegal(expr, interval, ours)
            if reason is not None:
                message = f"`{name}` of {rule.source}: {format_expression(expr)} {reason}"
                yield Fault("out-of-range", message, loc)


def error_of_rule(
    faults: Sequence[Fault], document: Document, rule: Rule | None = None
) -> InputError:
    """Return the error about faults of a recipe, or of a rule that its routes lead to."""
    return InputError(*(diagnostic_of_rule(fault, document, rule) for fault in faults))
