"""The learning-rate schedule and the objective, point by point."""

from __future__ import annotations

import math
import random

import pytest
import torch

from optzoo.errors import InputError
from optzoo.recipe.schedules import LrMultiplier
from optzoo.train.model.loss import plain_objective
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.schema import load_setup
from optzoo.train.trainer import clip_gradients

QUICK = load_setup("quick")


def schedule(**fields: object) -> LrMultiplier:
    """The schedule of a run of 110 steps, 10 of them warm-up."""
    given = {"warmup_steps": 10, "start_fraction": 0.1, "final_fraction": 0.2, "scale": 1} | fields
    changes = {f"schedule.{name}": str(value) for name, value in given.items()}
    return override_setup(QUICK, {"budget.steps": "110", **changes}).lr_schedule()


@pytest.mark.parametrize(
    ("kind", "step", "value"),
    [
        ("cosine", 1, 0.1),
        ("cosine", 6, 0.55),
        ("cosine", 11, 1.0),
        ("cosine", 61, 0.6),
        ("cosine", 111, 0.2),
        ("cosine", 501, 0.2),
        ("linear", 61, 0.6),
        ("linear", 86, 0.4),
        ("constant", 11, 1.0),
        ("constant", 110, 1.0),
        ("wsd", 6, 0.55),
        ("wsd", 89, 1.0),
        ("wsd", 100, 0.6),
        ("wsd", 111, 0.2),
        ("1/t", 61, 1 / 61),
        ("1 - t/(2*T)", 6, 0.55 * (1 - 6 / 220)),
        ("1/4", 110, 0.25),
    ],
)
def test_points(kind: str, step: int, value: float) -> None:
    assert schedule(kind=kind).at(step) == pytest.approx(value, rel=1e-12)
    assert schedule(kind=kind, scale=2).at(step) == 2 * schedule(kind=kind).at(step)


def test_without_warmup_the_first_step_is_full() -> None:
    assert schedule(kind="cosine", warmup_steps=0, final_fraction=0).at(1) == 1.0
    assert schedule(kind="t", warmup_steps=0).at(7) == 7.0


def by_hand(kind: str, step: int, steps: int, warmup: int, start: float, final: float) -> float:
    """The factor of a step counted from 0, in the order of operations that runs were begun with."""
    if step < warmup:
        return start + (1.0 - start) * step / warmup
    if kind == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / (steps - warmup))
    height = 1.0 - progress
    if kind == "cosine":
        height = 0.5 * (1.0 + math.cos(math.pi * progress))
    return final + (1.0 - final) * height


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_a_resumed_run_has_the_same_rates_to_the_last_bit(kind: str) -> None:
    draw = random.Random(kind)
    for _ in range(40):
        steps = draw.choice([7, 110, 2999, 10**6 + 3])
        warmup = draw.choice([0, 1, steps // 10, draw.randrange(steps)])
        start, final = (draw.choice([0.0, 0.1, 0.2, 1.0, draw.random()]) for _ in range(2))
        scale = draw.choice([1.0, 3.0, draw.uniform(0.1, 10)])
        fields = {"warmup_steps": warmup, "start_fraction": start, "final_fraction": final}
        changes = {f"schedule.{k}": repr(v) for k, v in {**fields, "scale": scale}.items()}
        changes |= {"schedule.kind": kind, "budget.steps": str(steps)}
        found = override_setup(QUICK, changes).lr_schedule()
        wanted = {0, 1, warmup - 1, warmup, warmup + 1, steps - 1, steps, *range(0, steps, 1009)}
        for step in wanted & set(range(steps + 1)):
            expected = scale * by_hand(kind, step, steps, warmup, start, final)
            assert found.at(step + 1) == expected, (changes, step)


def test_the_recipe_is_asked_where_the_setup_does_not_say() -> None:
    assert QUICK.lr_schedule("linear").text == "linear"
    assert QUICK.lr_schedule(None).text == "cosine"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "cosin"}, "did you mean `cosine`?"),
        ({"kind": "lr*2"}, "it reads `lr`"),
        ({"kind": "t +"}, "not an expression"),
        ({"kind": "sqrt(50 - t)"}, "has no value at step 51"),
        ({"kind": "1 - t/100"}, "is -0.01 at step 101: no learning rate is negative"),
        ({"kind": "cosine", "decay_fraction": 0.1}, "`schedule.decay_fraction` belongs to"),
        ({"kind": "wsd", "decay_steps": 101}, "the last 101 steps"),
        ({"kind": "wsd", "decay_fraction": 0.001}, "the last 0 steps"),
        ({"kind": 7}, "schedule.kind"),
    ],
)
def test_what_is_no_schedule_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as error:
        schedule(**fields)
    assert words in str(error.value)


def test_the_length_of_the_fall_is_a_number_of_steps_or_a_part_of_the_run() -> None:
    assert schedule(kind="wsd", decay_steps=50).at(86) == pytest.approx(0.6)
    assert schedule(kind="wsd", decay_fraction=0.5).at(111 - 27.5) == pytest.approx(0.6)
    longer = override_setup(QUICK, {"schedule.kind": "wsd", "schedule.decay_steps": "50"})
    again = override_setup(longer, {"schedule.decay_fraction": "0.29", "budget.steps": "100"})
    assert again.decay_steps == 29  # of 0.29, not of the float below it


def test_objective_is_cross_entropy_plus_z_loss() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    targets = torch.tensor([2, 1])
    normaliser = torch.logsumexp(logits.double(), -1)
    nats = normaliser - torch.tensor([2.0, 0.0])
    objective, found = plain_objective(logits, targets, 0.5)
    assert found.tolist() == pytest.approx(nats.tolist(), rel=1e-6)
    expected = float(nats.sum() + 0.5 * (normaliser**2).sum())
    assert float(objective) == pytest.approx(expected, rel=1e-6)
    assert float(plain_objective(logits, targets, 0.0)[0]) == pytest.approx(float(nats.sum()), 1e-6)


def test_gradients_are_clipped_together() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, 1.0) == pytest.approx(5.0)
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
    parameters[1].grad.fill_(math.inf)
    assert math.isinf(clip_gradients(parameters, 1.0))
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
