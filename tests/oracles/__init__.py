"""Independent float64 re-statements of every shipped recipe, by recipe name.

Nothing here imports optzoo. `ORACLES` maps a recipe's name to its class, `LIVELY` to settings at
which every hyperparameter shows within fifty steps; a class's `defaults` are its authors'.
`make_oracle` builds one from a recipe's own hyperparameters.
"""

from __future__ import annotations

from . import adam_family, ademamix, averaged, normalised_first, sgd_family
from .base import Array, Oracle
from .settings import LIVELY

ORACLES: dict[str, type[Oracle]] = {
    "sgd": sgd_family.SGD,
    "sgd_momentum": sgd_family.SGDMomentum,
    "sgd_nesterov": sgd_family.SGDNesterov,
    "accelerated_sgd": sgd_family.AcceleratedSGD,
    "agnes": sgd_family.AGNES,
    "asgd_jain": sgd_family.ASGDJain,
    "accsgd": sgd_family.AccSGD,
    "mass": sgd_family.MaSS,
    "nesterov_vaswani": sgd_family.NesterovVaswani,
    "qhm": sgd_family.QHM,
    "qhadam": adam_family.QHAdam,
    "aggmo": sgd_family.AggMo,
    "adamw": adam_family.AdamW,
    "adamw_averaged": adam_family.AdamWAveraged,
    "adam_momentum_schedule": adam_family.AdamMomentumSchedule,
    "laprop": normalised_first.LaProp,
    "laprop_official": normalised_first.LaPropOfficial,
    "lion": normalised_first.Lion,
    "mars": adam_family.Mars,
    "mars_lion": normalised_first.MarsLion,
    "ademamix": ademamix.AdEMAMix,
    "simplified_ademamix": ademamix.SimplifiedAdEMAMix,
    "simplified_ademamix_unit_mass": ademamix.SimplifiedAdEMAMixUnitMass,
    "schedule_free_sgd": averaged.ScheduleFreeSGD,
    "schedule_free_adamw": averaged.ScheduleFreeAdamW,
    "schedule_free_adamw_paper": averaged.ScheduleFreeAdamWPaper,
    "schedule_free_radam": averaged.ScheduleFreeRAdam,
    "accelerated_adamw": ademamix.AcceleratedAdamW,
    "decoupled_schedule_free_adamw": averaged.DecoupledScheduleFreeAdamW,
    "nadam": adam_family.NAdam,
    "adan": adam_family.Adan,
    "adopt": normalised_first.Adopt,
    "gpa_adamw": averaged.GPAAdamW,
    "adana": adam_family.Adana,
    "grokfast_adamw": adam_family.GrokfastAdamW,
    "signum": normalised_first.Signum,
    "rmsprop": sgd_family.RMSprop,
    "adagrad": sgd_family.Adagrad,
}


def make_oracle(name: str, w0: Array, total_steps: int, **settings: float) -> Oracle:
    """Build the oracle of recipe `name` from all hyperparameters of the recipe, `lr` included.

    `lr` is the learning rate at construction: it becomes `lr0` where the oracle asks for that, and
    is otherwise only given step by step.
    """
    oracle = ORACLES[name]
    hyperparameters = {key: value for key, value in settings.items() if key != "lr"}
    if "lr0" in oracle.defaults:
        hyperparameters["lr0"] = settings["lr"]
    return oracle(w0, total_steps, **hyperparameters)


__all__ = ["LIVELY", "ORACLES", "Oracle", "make_oracle"]
