"""Closed forms: a program's momenta as formulas in a recipe's hyperparameters.

The recurrences of `symbolic_step`, beside this file, are brought to diagonal form: each buffer,
less a combination of the others and of the present gradient, decays by itself and is fed by the
present gradient alone. With b := d b.prev + k g that is m = b/k of Eq. (1), beta = d k.prev/k; a
buffer that is read before its update is read as (b - k g)/d. What comes out is shown only after
`verify` has compared it with the exact response.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from optzoo.description.forms.symbolic_step import NoClosedFormError, System, is_known
from optzoo.interpreters.linear import Form
from optzoo.interpreters.rational import ONE, ZERO
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD
from optzoo.program.ratios import Ratio, combine, invert, multiply, negate


@dataclass(frozen=True)
class ClosedMomentum:
    """One momentum: m_t = beta(t) m_{t-1} + g_t, which enters the step with weight eta(t)."""

    buffers: str
    beta: Ratio
    eta: Ratio


@dataclass(frozen=True)
class Closed:
    """w_{t+1} = w_t - sum_i eta_i(t) m_i - alpha(t) g_t, g being the gradient or another line.

    It holds for gradients from step `first` on: a buffer that starts from a gradient gives the
    first one another weight.
    """

    momenta: tuple[ClosedMomentum, ...]
    alpha: Ratio
    source: Name = GRAD
    first: int = 1


@dataclass(frozen=True)
class _Mode:
    """A diagonal buffer: b_t = decay b_{t-1} + gain g_t."""

    decay: Ratio
    gain: Ratio


@dataclass
class _Solver:
    """Diagonal modes by buffer, and each buffer as a sum over modes plus `direct` gradient."""

    system: System
    source: Name
    modes: dict[str, _Mode] = field(default_factory=dict)
    parts: dict[str, dict[str, Ratio]] = field(default_factory=dict)
    direct: dict[str, Ratio] = field(default_factory=dict)

    def add(self, name: str, update: Form[Ratio]) -> None:
        """Bring one buffer to diagonal form; those that feed it are known already."""
        shifted = self.system.symbols.shifted
        own = Name(name, "prev")
        decay = update.terms.get(own, ZERO)
        gain = update.terms.get(self.source, ZERO)
        fed: dict[str, Ratio] = {}
        late = ZERO  # weight of the gradient before
        for source, weight in update.terms.items():
            if source in (own, self.source):
                continue
            assert isinstance(source, Name)
            if source.when != "prev" or source.id not in self.parts:
                raise NoClosedFormError(f"{name} is fed by {source}")
            for mode, part in self.parts[source.id].items():
                term = multiply(weight, shifted(part, -1))
                fed[mode] = combine(fed.get(mode, ZERO), term)
            late = combine(late, multiply(weight, shifted(self.direct[source.id], -1)))
        if decay.is_zero:
            if fed or not late.is_zero:
                raise NoClosedFormError(f"{name} keeps nothing of its own")
            self.parts[name], self.direct[name] = {}, gain
            return
        mixed = {mode: self._mixed(name, mode, weight, decay) for mode, weight in fed.items()}
        direct = negate(shifted(multiply(late, invert(decay)), 1))
        for mode, part in mixed.items():
            gain = combine(gain, negate(multiply(part, self.modes[mode].gain)))
        gain = combine(gain, negate(direct))
        if gain.is_zero:
            raise NoClosedFormError(f"no gradient enters {name}")
        self.modes[name] = _Mode(decay, gain)
        self.parts[name] = {**mixed, name: ONE}
        self.direct[name] = direct

    def _mixed(self, name: str, mode: str, weight: Ratio, decay: Ratio) -> Ratio:
        """Return how much of another mode a buffer holds; it must not move with the step."""
        gap = combine(self.modes[mode].decay, negate(decay))
        if gap.is_zero:
            raise NoClosedFormError(f"{name} decays as {mode} does")
        part = multiply(weight, invert(gap))
        if not all(self.system.symbols.is_steady(r) for r in (part, decay, gap)):
            raise NoClosedFormError(f"{mode} enters {name} with a weight that moves")
        return part

    def readout(self, read: Form[Ratio]) -> tuple[dict[str, Ratio], Ratio]:
        """Return a form over the modes after the step, and the present gradient."""
        shifted = self.system.symbols.shifted
        weights: dict[str, Ratio] = {}
        alpha = ZERO
        for source, weight in read.terms.items():
            assert isinstance(source, Name)
            if source == self.source:
                alpha = combine(alpha, weight)
                continue
            if source.id not in self.parts or (source.when == "now" and source == GRAD):
                raise NoClosedFormError(f"the step reads {source}")
            direct, before = self.direct[source.id], source.when == "prev"
            if before and not direct.is_zero:
                raise NoClosedFormError(f"the step reads the gradient before through {source}")
            alpha = combine(alpha, multiply(weight, direct))
            for name, part in self.parts[source.id].items():
                mode = self.modes[name]
                share = multiply(weight, shifted(part, -1) if before else part)
                if before:
                    share = multiply(share, invert(mode.decay))
                    alpha = combine(alpha, negate(multiply(share, mode.gain)))
                weights[name] = combine(weights.get(name, ZERO), share)
        return weights, alpha


def _waits(name: str, form: Form[Ratio], pending: Collection[str], source: Name) -> bool:
    """Whether a buffer is fed by another that is not solved yet."""
    fed_by = {s.id for s in form.terms if isinstance(s, Name) and s != source}
    return bool(fed_by & (set(pending) - {name}))


def closed_form(system: System, read: Form[Ratio], source: Name = GRAD) -> Closed:
    """Solve the recurrences of a system for what `read` moves the parameter by.

    Raises NoClosedFormError when buffers feed one another in a way that cannot be taken apart, or
    if a coefficient is not a rational function of named scalars.
    """
    solver = _Solver(system, source)
    pending = {name: system.expanded(system.updates[name]) for name in system.relevant(read)}
    while pending:
        ready = [name for name, form in pending.items() if not _waits(name, form, pending, source)]
        if not ready:
            raise NoClosedFormError("buffers feed one another")
        for name in ready:
            solver.add(name, pending.pop(name))
    weights, direct = solver.readout(read)
    shifted = system.symbols.shifted
    momenta: dict[Ratio, ClosedMomentum] = {}
    for name, weight in weights.items():
        mode = solver.modes[name]
        beta = multiply(mode.decay, multiply(shifted(mode.gain, -1), invert(mode.gain)))
        eta = negate(multiply(weight, mode.gain))
        if beta in momenta:  # then m is the same, and the weights add
            twin = momenta[beta]
            eta, name = combine(twin.eta, eta), f"{twin.buffers}, {name}"
        momenta[beta] = ClosedMomentum(name, beta, eta)
    kept = tuple(m for m in momenta.values() if not m.eta.is_zero)
    alpha = negate(direct)
    if not all(is_known(r) for r in (alpha, *(r for m in kept for r in (m.beta, m.eta)))):
        raise NoClosedFormError("a coefficient is not a rational function of named scalars")
    return Closed(kept, alpha, source)
