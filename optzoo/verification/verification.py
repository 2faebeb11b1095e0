"""Does someone's own torch optimizer compute what a recipe says? If not, through which term not?

Both run in float64 on the same drawn gradients: tensors of several shapes, gradients of several
sizes, learning rates that move and that do not, weight decay on and off, several seeds. Where they
part, terms are turned off one by one until they do not; where none is to blame, unit gradients read
the weights of past gradients off both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from optzoo.errors import Diagnostic, InputError
from optzoo.program.expressions import Call, names_in, walk
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.values import Value
from optzoo.verification.foreign import Arguments, Foreign, load_class, map_arguments
from optzoo.verification.probe import first_apart, first_turn_apart, probe
from optzoo.verification.side_by_side import SHAPES, SMALL_SIZES, Gap, Pair, Trial, float64

STEPS = 30
SEEDS = 2
TOLERANCE = 1e-9
"""A difference relative to the move that rounding in float64 does not explain."""
DECAY = 0.1
"""The weight decay that is turned on where the recipe has none."""
NO_EPS = 1e-30
SMALL = 1e-6
"""A difference that a number kept in float32 may make."""
VECTORS, MATRICES = ((3,), (7,), (4,), (2,)), ((2, 3), (4, 5), (3, 3), (5, 4))


@dataclass(frozen=True)
class Apart:
    """A weight that differs while the preconditioner is held: that of gradient s in step t.

    `ours` and `theirs` are the weights, `our_form` and `their_form` beta_a, eta_a and alpha_a.
    `under_a_sign` the weights are relative to that of gradient t.
    """

    t: int
    s: int
    ours: float
    theirs: float
    our_form: tuple[float, float, float] | None
    their_form: tuple[float, float, float] | None
    under_a_sign: bool = False


@dataclass(frozen=True)
class Verification:
    """What was seen of a recipe and a class.

    `gap` is the largest difference, or where they part; `terms` are to blame: without them the two
    are equal, or less than `rest` apart. `weight` is what unit gradients show where no term is.
    `notes` tell of what a training loop may stumble on while the steps agree.
    """

    recipe: str
    name: str
    arguments: Arguments
    trials: int
    steps: int
    gap: Gap
    terms: tuple[str, ...] = ()
    rest: float = 0.0
    weight: Apart | None = None
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the class computes what the recipe says."""
        return self.gap.equal


def verify(
    recipe: Recipe,
    against: str | type[Any],
    *,
    names: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    **settings: Value,
) -> Verification:
    """Run a torch optimizer class beside a recipe: are they equal, and what parts them if not?

    `against` is a class, or `FILE.py:CLASS` or `module:CLASS`: the file or module is run. `names`
    are hyperparameters of the recipe by argument of the class, `constants` further arguments; the
    rest is found by name. `settings` override hyperparameters. Raises InputError where the class
    cannot be loaded, made or stepped.
    """
    chosen = recipe.with_overrides(settings)
    chosen.check_steps(steps, total_steps=steps)
    cls = load_class(against) if isinstance(against, str) else against
    arguments = map_arguments(cls, chosen, names or {}, constants or {})
    pair = Pair(chosen, cls, arguments, steps, tolerance)
    question = _Suspect(pair, _settings(chosen, arguments, steps), steps)
    return question.answer()


def _settings(recipe: Recipe, arguments: Arguments, steps: int) -> dict[str, float]:
    """Return the hyperparameters as numbers; T where a class wants a number for it."""
    found: dict[str, float] = {}
    used = {name for names in arguments.mapped.values() for name in names}
    for name, knob in recipe.hyperparameters.items():
        if isinstance(knob.default, float):
            found[name] = knob.default
        elif name in used and knob.default == "T":
            found[name] = float(steps)
        elif name in used:
            message = f"`{name}` is `{knob.default}`, and the class is given a number for it"
            raise InputError(Diagnostic("bad-value", message, hint=f"`--set {name}=10`"))
    unknown = sorted(used - {*recipe.hyperparameters})
    if unknown:
        message = f"`{unknown[0]}` is not a hyperparameter of {recipe.name}"
        raise InputError(Diagnostic("unknown-name", message))
    return found


class _Suspect:
    """One recipe and one class at some settings."""

    def __init__(self, pair: Pair, settings: dict[str, float], steps: int) -> None:
        self.pair, self.settings, self.steps = pair, settings, steps
        self.shapes: Sequence[tuple[int, ...]] = SHAPES
        passed = {name for names in pair.arguments.mapped.values() for name in names}
        uses = [u for u in uses_of(pair.recipe.spec) if u.loc[0] == "weight_decay"]
        amounts = {n.id for use in uses for n in names_in(use.expr)} & passed & {*settings}
        self.decays = sorted(amounts - {"lr"})

    def answer(self) -> Verification:
        refused = self._choose_shapes()
        trials = list(self._trials())
        gaps = [self.pair.gap(trial) for trial in trials]
        parted = [(gap, t) for gap, t in zip(gaps, trials, strict=True) if not gap.equal]
        gap, failed = max(parted, key=lambda p: p[0].size, default=(None, None))
        gap = gap or max(gaps, key=lambda g: g.size)
        base = Verification(
            self.pair.recipe.name, self.pair.cls.__name__, self.pair.arguments,
            len(trials), self.steps, gap,
        )  # fmt: skip
        if failed is None:
            return replace(base, notes=(*refused, *self._notes()))
        terms, rest = self._guilty(failed, gap), 0.0
        if not terms and gap.size > SMALL:
            rough = _Suspect(replace(self.pair, tolerance=SMALL), self.settings, self.steps)
            terms, rest = rough._guilty(failed, gap), SMALL
        weight = None
        if not terms:
            with suppress(InputError):  # a class that takes no vector shows no weights
                weight = self._weight(failed)
        rest = rest if terms else 0.0
        return replace(base, terms=tuple(terms), rest=rest, weight=weight, notes=refused)

    def _choose_shapes(self) -> tuple[str, ...]:
        """Look whether tensors of all shapes are taken; else leave matrices, and say so."""
        first = next(self._trials())
        try:
            self.pair.gap(first)
        except InputError as error:
            for shapes in (MATRICES, tuple(shape for shape in MATRICES if len(shape) == 2)):
                with suppress(InputError):
                    self.pair.gap(replace(first, shapes=shapes))
                    self.shapes = shapes
                    break
            else:
                raise
            text = str(error).splitlines()[0].removeprefix("error: ")
            return (f"only matrices were compared: {text}",)
        return ()

    def _trials(self) -> Iterator[Trial]:
        """Yield the plainest conditions first."""
        for constant_lr, decays in itertools.product((True, False), (False, True)):
            if decays and not self.decays:
                continue
            amounts = {n: (self.settings[n] or DECAY) if decays else 0.0 for n in self.decays}
            for seed in range(SEEDS):
                settings = {**self.settings, **amounts}
                yield Trial(settings, self.steps, seed, constant_lr, self.shapes)

    # ------------------------------------------------------------ which term

    def _guilty(self, trial: Trial, gap: Gap) -> list[str]:
        """Return the terms without which the two are equal, as few as will do."""
        if gap.point == "evaluation":
            return ["the evaluation point"]
        without = dict(self._without(trial))
        for count in (1, 2, 3):
            for names in itertools.combinations(without, count):
                settings, changed = dict(trial.settings), trial
                for name in names:
                    settings |= without[name].get("settings", {})
                    changed = replace(changed, **{**without[name], "settings": settings})
                if self._equal(changed):
                    return list(names)
        return []

    def _without(self, trial: Trial) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each term, and the conditions under which it makes no difference."""
        if any(trial.settings[n] for n in self.decays):
            yield "weight decay", {"settings": dict.fromkeys(self.decays, 0.0)}
        if not trial.constant_lr:
            yield "a learning rate that moves", {"constant_lr": True}
        if "eps" in trial.settings:
            yield "eps", {"settings": {"eps": NO_EPS}}
        if self.shapes != MATRICES:
            yield "tensors that are no vectors", {"shapes": VECTORS}
            yield "tensors that are no matrices", {"shapes": MATRICES}
        yield "gradients that are large: a clip", {"sizes": (1e-3,) * len(SHAPES)}

    def _gap(self, trial: Trial) -> Gap | None:
        try:
            return self.pair.gap(trial)
        except InputError:
            return None

    def _equal(self, trial: Trial) -> bool:
        gap = self._gap(trial)
        return gap is not None and gap.equal

    def _weight(self, trial: Trial) -> Apart | None:
        """Return the first weight that differs while the preconditioner is held."""
        settings = {**trial.settings, **dict.fromkeys(self.decays, 0.0)}
        with float64():
            makes = self._make_ours(settings), self._make_theirs(settings)
            ours, theirs = map(probe, makes)
            place = first_apart(ours, theirs) if ours.linear and theirs.linear else None
            turn = first_turn_apart(*makes) if place is None and self._has_sign() else None
        if turn is not None:
            return Apart(*turn, None, None, under_a_sign=True)
        if place is None:
            return None
        t, s = place
        return Apart(
            t, s, -ours.rows[t - 1][s - 1], -theirs.rows[t - 1][s - 1],
            ours.form(t), theirs.form(t),
        )  # fmt: skip

    def _has_sign(self) -> bool:
        lines = self.pair.recipe.trained_program().step
        nodes = (node for line in lines for node in walk(line.expr))
        return any(isinstance(node, Call) and node.op == "sign" for node in nodes)

    def _make_ours(self, settings: Mapping[str, float]) -> Any:
        def make(params: list[torch.nn.Parameter]) -> Any:
            return self.pair.build(params, settings).step

        return make

    def _make_theirs(self, settings: Mapping[str, float]) -> Any:
        def make(params: list[torch.nn.Parameter]) -> Any:
            foreign = Foreign(self.pair.cls, params, self.pair.arguments.values(settings))
            return lambda: foreign.step(settings["lr"])

        return make

    # ------------------------------------------------------------ while the steps agree

    def _notes(self) -> Iterator[str]:
        """Yield what a training loop may stumble on."""
        name, plain = (
            self.pair.cls.__name__,
            Trial(self.settings, self.steps, constant_lr=True, shapes=self.shapes),
        )
        if self.pair.overwrites_gradients:
            yield f"{name} changes the gradients that it is given"
        if not self._equal(replace(plain, late=8)):
            yield f"a parameter whose first gradient comes late parts: {name} has one clock for all"
        small = self._gap(replace(plain, sizes=SMALL_SIZES))
        if small is not None and not small.equal:
            yield f"on gradients of 1e-3 and below they part by {small.size:.1g} of the move"
        if not self._equal(replace(plain, lr_starts_at_zero=True)):
            yield "a first learning rate of 0 parts them"
        program = self.pair.recipe.trained_program()
        if not self.pair.has_views and program.view("eval").expr != program.view("train").expr:
            yield f"{name} has no train() and eval(): evaluation points were not compared"
