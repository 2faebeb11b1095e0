"""Settings at which each hyperparameter of an oracle is visible within fifty steps.

Defaults hide things: eps 1e-8, weight decay 0, alpha 0, schedules that never run. Here eps is
large, decay is on, schedules end inside the run, and no two betas are equal, so that a test
against an oracle sees every coefficient. `lr` is the learning rate at construction; recipes
without one hold it at 1.
"""

from __future__ import annotations

_ADAM = {"beta1": 0.85, "beta2": 0.93, "eps": 0.03, "weight_decay": 0.2}
_FREE = {"beta": 0.8, "r": 0.5, "weight_lr_power": 1.7, "weight_decay": 0.2}
_FREE_ADAM = {**_FREE, "beta2": 0.93, "eps": 0.03}
_MIX = {"alpha": 3.0, "warmup": 30.0}

LIVELY: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.02, "weight_decay": 0.2},
    "sgd_momentum": {"lr": 0.02, "momentum": 0.85, "dampening": 0.3, "weight_decay": 0.2},
    "sgd_nesterov": {"lr": 0.02, "momentum": 0.85, "weight_decay": 0.2},
    "accelerated_sgd": {"eta": 0.01, "alpha": 0.03, "k": 3.0},
    "agnes": {"eta": 0.03, "alpha": 0.01, "rho": 0.9},
    "asgd_jain": {"alpha": 0.8, "beta": 0.3, "gamma": 0.1, "delta": 0.03},
    "accsgd": {"lr": 0.02, "kappa": 60.0, "xi": 5.0, "small_const": 0.7},
    "mass": {"eta1": 0.03, "eta2": 0.01, "gamma": 0.8},
    "nesterov_vaswani": {"eta": 0.03, "alpha": 0.2, "beta": 0.9, "gamma": 4.0},
    "qhm": {"lr": 0.05, "beta": 0.9, "nu": 0.7},
    "qhadam": {"lr": 0.02, **_ADAM, "nu1": 0.7, "nu2": 0.8},
    "aggmo": {"lr": 0.02, "beta1": 0.3, "beta2": 0.8, "beta3": 0.95},
    "adamw": {"lr": 0.02, **_ADAM},
    "adamw_averaged": {"lr": 0.02, **_ADAM, "delta": 0.2},
    "adam_momentum_schedule": {"lr": 0.02, **_ADAM, "beta1": 0.97, "beta_start": 0.8},
    "laprop": {"lr": 0.02, **_ADAM},
    "laprop_official": {"lr": 0.02, **_ADAM, "weight_decay": 0.01},
    "lion": {"lr": 0.02, "beta1": 0.85, "beta2": 0.95, "weight_decay": 0.2},
    "mars": {"lr": 0.02, **_ADAM, "gamma": 0.05},
    "mars_lion": {"lr": 0.02, "beta1": 0.85, "gamma": 0.05, "weight_decay": 0.2},
    "ademamix": {"lr": 0.02, **_ADAM, **_MIX, "beta3": 0.98},
    "simplified_ademamix": {"lr": 0.005, **_ADAM, **_MIX, "beta1": 0.97, "beta_start": 0.8},
    "simplified_ademamix_unit_mass": {
        "lr": 0.02,
        **_ADAM,
        **_MIX,
        "beta1": 0.97,
        "beta_start": 0.8,
    },
    "schedule_free_sgd": {"lr": 0.02, **_FREE},
    "schedule_free_adamw": {"lr": 0.02, **_FREE_ADAM},
    "schedule_free_adamw_paper": {"lr": 0.02, **_FREE_ADAM},
    "schedule_free_radam": {"lr": 0.02, **_FREE_ADAM},
    "accelerated_adamw": {"lr": 0.02, **_ADAM, "beta1": 0.95, "beta3": 0.8, "delta": 0.2},
    "decoupled_schedule_free_adamw": {
        "lr": 0.02,
        "beta": 0.8,
        "beta2": 0.93,
        "delta": 0.3,
        "k": 2.5,
        "eps": 0.03,
        "weight_decay": 0.2,
    },
    "nadam": {"lr": 0.02, **_ADAM, "momentum_decay": 0.3},
    "adan": {"lr": 0.02, **_ADAM, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95},
    "adopt": {"lr": 0.02, **_ADAM, "eps": 0.3},
    "gpa_adamw": {"lr": 0.02, **_ADAM, "mu_x": 0.9, "mu_y": 0.7},
    "adana": {
        "lr": 0.02,
        "delta": 5.0,
        "kappa": 0.85,
        "gamma3": 0.8,
        "eps": 0.03,
        "weight_decay": 0.1,
        "wd_ts": 4.0,
    },
    "grokfast_adamw": {"lr": 0.02, **_ADAM, "a": 0.9, "lamb": 1.5},
    "signum": {"lr": 0.02, "beta": 0.85, "weight_decay": 0.2},
    "rmsprop": {"lr": 0.02, "alpha": 0.93, "eps": 0.03, "momentum": 0.7, "weight_decay": 0.2},
    "adagrad": {"lr": 0.02, "lr_decay": 0.05, "eps": 0.03, "weight_decay": 0.2},
}
