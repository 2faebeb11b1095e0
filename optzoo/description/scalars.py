"""The scalars of a program at any step, precisely and without walking there.

Pure functions of t are evaluated where they are wanted, in decimals. A scalar with memory is jumped
to when its recurrence has constant coefficients (a running sum, product, maximum or mean at a
constant learning rate). What cannot be jumped to is walked in decimals for the first steps and
folded from there in numpy's long double: `optzoo.description.folding`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optzoo.description.recurrences import affine_parts, reaches, running_max_of
from optzoo.errors import Diagnostic, InputError
from optzoo.program.arithmetic import LARGEST, DecimalDomain, NotRealError, power, precisely
from optzoo.program.bounds.checked import outside
from optzoo.program.domain import evaluate, initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Expr, Name, names_in
from optzoo.program.ir import Program
from optzoo.program.reading import starts_of

if TYPE_CHECKING:
    from optzoo.description.folding import Folding

WALKED = 300
"""Up to this step, scalars that cannot be jumped to are walked to in decimals."""
LONGEST_WALK = 30_000
LONGEST_FOLD = 20_000_000
LR = Name("lr")


class ScalarTable:
    """Values of a program's scalars by name and step, steps from 1.

    `lr_factor` is an expression in `t` and `T` that the learning rate is multiplied by. Sums over
    all parameters are 0, as before any gradient: what follows from them stays where it starts.
    """

    def __init__(self, program: Program, lr_factor: Expr, total_steps: int) -> None:
        self.program = program
        self.domain = DecimalDomain()
        self.lines = {line.target: line.expr for line in program.scalars}
        self.places = {line.target: line for line in program.scalars}
        self.begun = {Name(s.state.id): s.value for s in starts_of(program).values()}
        self.lr_factor = lr_factor
        with precisely():
            self.inits = initial_memory(program, self.domain)
            self.fixed = {Name(h.name): self.domain.number(h.value) for h in program.hypers}
            self.base_lr = self.fixed.pop(LR, Decimal(1))
            self.fixed |= {Name("T"): Decimal(total_steps), Name("lr0"): self.base_lr}
            self.fixed |= {line.target: Decimal(0) for line in program.pooled}
        self._cache: dict[tuple[Name, int], Decimal] = {}
        self._walked: list[dict[Name, Decimal]] = []
        self._folding: Folding | None = None

    def inputs(self, t: int) -> dict[str, Decimal]:
        """Return the hyperparameters and the clock of step t; those of step 1 before it."""
        with precisely():
            given = {name.id: value for name, value in self.fixed.items()}
            return {**given, "lr": self.lr_at(max(1, t)), "t": Decimal(max(1, t))}

    def lr_at(self, t: int) -> Decimal:
        """Return the learning rate of step t."""
        names = {Name("t"): Decimal(t), Name("T"): self.fixed[Name("T")]}
        return self.base_lr * evaluate(self.lr_factor, self.domain, names)

    @property
    def has_constant_lr(self) -> bool:
        """Whether the learning rate does not depend on the step."""
        return Name("t") not in names_in(self.lr_factor)

    def memory(self, t: int) -> dict[str, Decimal]:
        """Return what the scalar states hold after t steps."""
        return {s.name: self.value(Name(s.name), t) for s in self.program.scalar_states}

    def value(self, name: Name, t: int) -> Decimal:
        """Return the value of a scalar at step t; that of step 0 is what it starts at.

        Raises InputError for a recurrence that cannot be followed that far, and NotRealError where
        the scalar has no value.
        """
        with precisely():
            return self._value(name, t)

    def _value(self, name: Name, t: int) -> Decimal:
        if name.when == "prev":
            return self._value(Name(name.id), t - 1)
        if name in self.fixed:
            return self.fixed[name]
        if name.id == "t":
            return Decimal(t)
        if t < 1 and name in self.begun:  # where it starts
            return self._evaluated(self.begun[name], 1)
        if t < 1:
            return self.inits[name.id] if name.id in self.inits else self._value(name, 1)
        if name == LR:
            return self.lr_at(t)
        key = (name, t)
        if key not in self._cache:
            self._cache[key] = self._checked(name, t)
        return self._cache[key]

    def _checked(self, name: Name, t: int) -> Decimal:
        """Return the value of a line where it has one that an optimizer could use."""
        line = self.places[name]
        try:
            value = self._computed(name, t)
            if value.is_nan():
                raise NotRealError("it is not a real number here, or was none before")
            if abs(value) > Decimal(LARGEST):
                raise NotRealError(f"{value:.3g} is more than float64 holds")
            if line.within is not None and float(value) not in line.within:
                raise outside(line, float(value))
        except NotRealError as error:
            raise error.at(line, t) from None
        return value

    def _computed(self, name: Name, t: int) -> Decimal:
        expr = self.lines[name]
        if not reaches(self.lines, name, name.prev):
            return self._evaluated(expr, t)
        jumped = self._jumped(name, expr, t)
        if jumped is not None:
            return jumped
        return self._walk(t)[name] if t <= WALKED else self._folded(name, t)

    def _evaluated(self, expr: Expr, t: int) -> Decimal:
        values = {n: self._value(n, t) for n in names_in(expr)}
        return evaluate(expr, self.domain, values)

    # ------------------------------------------------------------ jumping

    def is_steady(self, name: Name) -> bool:
        """Whether a scalar has the same value at every step from 1 on."""
        if name in self.fixed:
            return True
        if name == LR:
            return self.has_constant_lr
        if name.when == "prev" or name not in self.lines:
            return False
        largest = running_max_of(self.lines[name], name)
        return self._all_steady(self.lines[name] if largest is None else largest)

    def _all_steady(self, expr: Expr) -> bool:
        return all(self.is_steady(n) for n in names_in(expr))

    def _jumped(self, name: Name, expr: Expr, t: int) -> Decimal | None:
        """Return x at step t for x = a x.prev + c with constant a and c, or for a maximum."""
        start = self.inits[name.id]
        largest = running_max_of(expr, name)
        if largest is not None:
            steady = self._all_steady(largest)
            return max(start, self._evaluated(largest, 1)) if steady else None
        if not all(n == name.prev or self.is_steady(n) for n in names_in(expr)):
            return None
        parts = affine_parts(expr, name.prev)
        if parts is None:
            return None
        a, c = (self._evaluated(part, 1) for part in parts)
        if a == 1:
            return start + t * c
        left = power(a, Decimal(t))
        return left * start + c * (1 - left) / (1 - a)

    # ------------------------------------------------------------ walking and folding

    def _walk(self, t: int) -> dict[Name, Decimal]:
        """Return all scalars of step t, reached step by step."""
        for s in range(len(self._walked) + 1, t + 1):
            last = self._walked[-1] if self._walked else None
            memory = self.inits if last is None else kept_memory(self.program, last)
            self._walked.append(run_scalars(self.program, self.domain, self.inputs(s), memory))
        return self._walked[t - 1]

    def folding(self) -> Folding:
        """Return these scalars over many steps at once; imports numpy."""
        if self._folding is None:
            from optzoo.description.folding import Folding, Given

            given = Given(self.lines, self.fixed, self.inits, self.base_lr, self.lr_factor)
            self._folding = Folding(given)
        return self._folding

    def _folded(self, name: Name, t: int) -> Decimal:
        from optzoo.description.folding import CannotFoldError

        try:
            if t > LONGEST_FOLD:
                raise CannotFoldError(name)
            return self.folding().value(name, t)
        except CannotFoldError:
            if t <= LONGEST_WALK:
                return self._walk(t)[name]
        limit = LONGEST_FOLD if t > LONGEST_FOLD else LONGEST_WALK
        message = f"`{name}` runs from step to step and is followed up to step {limit:,}, not {t:,}"
        raise InputError(Diagnostic("too-far", message, hint="ask for earlier steps"))
