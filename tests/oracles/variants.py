"""Oracles of the second readings: recipes that differ from another in one line.

Settings are inherited from that other one. Where the authors' package has an option, its default is
the recipe of the plain name: `nadam` and `adopt` decay coupled, as here.
"""

from __future__ import annotations

import numpy as np

from .adam_family import Adan, Mars, NAdam
from .ademamix import APPENDIX_A, AcceleratedAdamW, SimplifiedAdEMAMix
from .averaged import ScheduleFreeAdamW
from .base import Array
from .normalised_first import Adopt
from .orthogonal import Muon, MuonMoonlight, NorMuon, ScheduleFreeMuon
from .sgd_family import NesterovVaswani


class NAdamCoupled(NAdam):
    """torch.optim.NAdam with its default decoupled_weight_decay=False."""

    recipe = "nadam"

    def update(self, g: Array, lr: float) -> None:
        decay, self.h.weight_decay = self.h.weight_decay, 0.0
        super().update(g + decay * self.w, lr)  # grad.add(param, alpha=weight_decay)
        self.h.weight_decay = decay


class AdoptCoupled(Adopt):
    """ADOPT with its default decouple=False: the decay is in the gradient from step 0 on."""

    recipe = "adopt"

    def update(self, g: Array, lr: float) -> None:
        decay, self.h.weight_decay = self.h.weight_decay, 0.0
        super().update(g + decay * self.w, lr)
        self.h.weight_decay = decay


class AdanNoProx(Adan):
    """Adan with no_prox=True: the weights shrink before the step, by 1 - lr*wd."""

    recipe = "adan_no_prox"

    def update(self, g: Array, lr: float) -> None:
        decay, self.h.weight_decay = self.h.weight_decay, 0.0
        self.w = self.w * (1 - lr * decay)
        super().update(g, lr)
        self.h.weight_decay = decay


class MarsPaper(Mars):
    """MARS-AdamW with x_0 = x_1 (Yuan et al. 2024, Algorithm 2): c_1 is the gradient."""

    recipe = "mars_paper"

    def update(self, g: Array, lr: float) -> None:
        if self.t == 1:
            self.g_prev = g
        super().update(g, lr)


class SimplifiedAdEMAMixDebiased(SimplifiedAdEMAMix):
    """bias_correction1=True: m1 and alpha g are both divided by num_sum."""

    recipe = "simplified_ademamix_debiased"
    our_defaults = {**APPENDIX_A, "lr": 1e-3}
    learns_at = {}

    def numerator(self, mixed: Array) -> Array:
        return mixed / self.num_sum


class ScheduleFreeAdamWDecayAtZ(ScheduleFreeAdamW):
    """AdamWScheduleFreeReference with decay_at_z=True: z, not y, decays before the step."""

    recipe = "schedule_free_adamw_decay_at_z"

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        n = g / (np.sqrt(self.v / (1 - h.beta2**self.t)) + h.eps)
        self.move(n + h.weight_decay * self.z, lr)


class ScheduleFreeAdamWInnerMomentum(ScheduleFreeAdamW):
    """The inner_momentum option at the head of schedule_free (2026-05): Adam's numerator inside."""

    recipe = "schedule_free_adamw_inner_momentum"
    defaults = {**ScheduleFreeAdamW.defaults, "inner_momentum": 0.9}
    lively = {**ScheduleFreeAdamW.lively, "inner_momentum": 0.7}

    def begin(self, w0: Array) -> None:
        super().begin(w0)
        self.exp_avg = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.exp_avg = h.inner_momentum * self.exp_avg + (1 - h.inner_momentum) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        m_hat = self.exp_avg / (1 - h.inner_momentum**self.t)
        n = m_hat / (np.sqrt(self.v / (1 - h.beta2**self.t)) + h.eps)
        self.move(n + h.weight_decay * self.y, lr)


class AcceleratedAdamWLiteral(AcceleratedAdamW):
    """Algorithm 3 with line 7 as printed: c = max(1 - 1/t, 1 - 1/(delta t))."""

    recipe = "accelerated_adamw_literal"
    idle = ("delta",)  # the maximum is 1 - 1/t for any delta up to 1
    further = {"delta": 0.95}  # line 7 reads delta nowhere else

    def update(self, g: Array, lr: float) -> None:
        before = self.w_avg
        super().update(g, lr)
        c = max(1 - 1 / self.t, 1 - 1 / (self.h.delta * self.t))
        self.w_avg = c * before + (1 - c) * self.w


class NesterovVaswaniScheduled(NesterovVaswani):
    """Vaswani's method with alpha_k = 2/(k + 3), beta_k = 1 - 1/(k + 1), gamma_k = (k + 5)/2."""

    defaults = {"eta": 1e-3}

    def begin(self, w0: Array) -> None:
        super().begin(w0)
        self.h.alpha = 2 / 4

    def update(self, g: Array, lr: float) -> None:
        k = self.t
        self.h.beta, self.h.gamma = 1 - 1 / (k + 1), (k + 5) / 2
        super().update(g, lr)
        self.h.alpha = 2 / (k + 4)  # zeta_{k+1} mixes by alpha_{k+1}


VASWANI_SCHEDULES = {"alpha": "2/(t + 3)", "beta": "1 - 1/(t + 1)", "gamma": "(t + 5)/2"}
"""The same schedules as texts, for a recipe's hyperparameters."""


class MuonLargerOf(Muon):
    """torch.optim.Muon 2.13: the norm before the iteration is at least 1e-7, not 1e-7 more."""

    def size_for_norm(self, norm: float) -> float:
        return max(norm, 1e-7)


class MuonMoonlightLargerOf(MuonLargerOf, MuonMoonlight):
    """torch.optim.Muon 2.13 with adjust_lr_fn="match_rms_adamw"."""


class NorMuonLargerOf(MuonLargerOf, NorMuon):
    """pytorch_optimizer 4.1.0 NorMuon, whose iteration is torch's."""


class ScheduleFreeMuonLargerOf(MuonLargerOf, ScheduleFreeMuon):
    """schedulefree 1.4.1 ScheduleFreeWrapper around torch.optim.Muon 2.13."""
