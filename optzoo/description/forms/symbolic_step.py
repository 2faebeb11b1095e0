"""One step of a program with symbols: what each buffer becomes, and how far the parameter moves.

Every buffer is a source of its own, so what comes out is the recurrence as written. A line may be
made a source too: then the step is seen from there on, and what went into the line apart from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optzoo.description.forms.symbols import Symbols
from optzoo.interpreters.linear import Factor, Form, Gain, LinearDomain, Opaque, linear_step
from optzoo.interpreters.rational import ONE, SymbolDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.ratios import Atom, Ratio, atom_ratio, combine, multiply, negate

UNKNOWN = Atom("?")
"""What a coefficient depends on that has no name and is no rational function."""


class NoClosedFormError(Exception):
    """The program has no closed form of the kind that is looked for."""


def add_forms(a: Form[Ratio], b: Form[Ratio]) -> Form[Ratio]:
    """Return the sum of two forms, zeros dropped."""
    terms = dict(a.terms)
    for source, value in b.terms.items():
        terms[source] = combine(terms[source], value) if source in terms else value
    return Form({s: v for s, v in terms.items() if not v.is_zero})


def scale_form(a: Form[Ratio], factor: Ratio) -> Form[Ratio]:
    """Return a form times a ratio."""
    return Form({s: multiply(v, factor) for s, v in a.terms.items() if not v.is_zero})


def minus(a: Form[Ratio]) -> Form[Ratio]:
    """Return the negative of a form."""
    return Form({s: negate(v) for s, v in a.terms.items()})


@dataclass
class System:
    """One symbolic step. Sources are `grad`, the line made a source, `m.prev` and `m`.

    `move` is param - param.prev, `inner` the value of that line (empty without one), `views`
    what each view adds to `param`, over the buffers after the step. `gains` are the places that are
    not linear.
    """

    symbols: Symbols
    updates: dict[str, Form[Ratio]]
    move: Form[Ratio]
    inner: Form[Ratio]
    views: dict[str, Any]
    gains: tuple[Gain, ...]

    @classmethod
    def of(cls, program: Program, symbols: Symbols, fresh: Name | None = None) -> System:
        """Run one step. Raises NoClosedFormError where it is not linear, or not always the same."""
        if any(s.init == "param" for s in program.tensor_states):
            raise NoClosedFormError("a buffer starts as a copy of the parameter")
        buffers = {s.name for s in program.tensor_states}
        opaque: set[str] = set()
        while True:  # a buffer fed by what is not linear is not linear in the next step either
            values, domain, updates, inner = cls._run(program, symbols, buffers - opaque, fresh)
            found = {n for n in buffers if not isinstance(values[Name(n)], Form)}
            if found <= opaque:
                break
            opaque |= found
        if not isinstance(values[PARAM], Form):
            raise NoClosedFormError("the parameter is not linear in the gradients")
        after = {**symbols.values, **{Name(n): Form({Name(n): ONE}) for n in buffers - opaque}}
        after |= {Name(n): values[Name(n)] for n in opaque}
        after[PARAM] = Form({})
        views = {view.name: evaluate(view.expr, domain, after) for view in program.views}
        move = add_forms(values[PARAM], Form({}))
        gains = tuple(domain.gains)
        return cls(symbols, updates, move, inner[0] if inner else Form({}), views, gains)

    @staticmethod
    def _run(
        program: Program, symbols: Symbols, buffers: set[str], fresh: Name | None
    ) -> tuple[dict[Name, Any], LinearDomain[Ratio], dict[str, Form[Ratio]], list[Form[Ratio]]]:
        """Run one step with these buffers as linear forms and the rest opaque."""
        domain: LinearDomain[Ratio] = LinearDomain(
            SymbolDomain(symbols.steady, atom_ratio(UNKNOWN))
        )
        values: dict[Name, Any] = dict(symbols.values)
        values[PARAM.prev] = Form({})
        values[GRAD] = Form({GRAD: ONE})
        for state in program.tensor_states:
            old = Name(state.name, "prev")
            fixed: Opaque[Ratio] = Opaque(ONE, (Factor("elementwise factor", old),))
            values[old] = Form({old: ONE}) if state.name in buffers else fixed
        updates: dict[str, Form[Ratio]] = {"grad": values[GRAD]} if "grad" in buffers else {}
        inner: list[Form[Ratio]] = []

        def assigned(target: Name, value: Any) -> Any:
            if not isinstance(value, Form):
                return value
            if target == fresh:
                inner.append(value)
                return Form({target: ONE})
            if target.id in buffers:
                updates[target.id] = add_forms(value, Form({}))
                return Form({target: ONE})
            return value

        linear_step(program, domain, values, assigned)
        return values, domain, updates, inner

    def expanded(self, form: Form[Ratio]) -> Form[Ratio]:
        """Return a form over previous values and the sources only."""
        result: Form[Ratio] = Form({})
        for source, value in form.terms.items():
            assert isinstance(source, Name)
            if source.when == "now" and source != GRAD and source.id in self.updates:
                inner = self.expanded(self.updates[source.id])
                result = add_forms(result, scale_form(inner, value))
            else:
                result = add_forms(result, Form({source: value}))
        return result

    def relevant(self, read: Form[Ratio]) -> list[str]:
        """Return the buffers that a form depends on."""
        needed: list[str] = []
        stack = [s for s in read.terms if isinstance(s, Name)]
        while stack:
            name = stack.pop()
            is_buffer = name.id in self.updates and name != GRAD
            if is_buffer and name.id not in needed:
                needed.append(name.id)
                stack += [s for s in self.updates[name.id].terms if isinstance(s, Name)]
        return [n for n in self.updates if n in needed]


def is_known(ratio: Ratio) -> bool:
    """Whether a formula is free of what has no name."""
    return UNKNOWN not in ratio.atoms
