"""`optzoo verify`: right classes pass, wrong ones are told where and through what they part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from package_claims import RIGHT, WRONG, Agreement
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.errors import InputError
from optzoo.verification.findings import format_verification, sentence
from optzoo.verification.foreign import map_arguments
from optzoo.verification.probe import probe
from optzoo.verification.side_by_side import float64
from optzoo.verification.verification import verify

MINE = '''
import torch

class MyAdam(torch.optim.Optimizer):
    """AdamW; `fault` puts a mistake in."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fault=""):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.fault = fault

    @torch.no_grad()
    def step(self, closure=None):
        if self.fault == "closure" and closure is None:
            raise RuntimeError("closure required")
        if closure is not None:
            closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p), lr=group["lr"])
                s["t"] += 1
                b1, b2 = group["betas"]
                t, g, lr, eps = s["t"], p.grad, group["lr"], group["eps"]
                if self.fault == "raises" and t == 3:
                    raise ValueError("no third step")
                if self.fault == "decay":
                    g = g + group["weight_decay"] * p
                elif self.fault == "no lr in decay":
                    p.mul_(1 - s["lr"] * group["weight_decay"])
                else:
                    p.mul_(1 - lr * group["weight_decay"])
                if self.fault == "schedule":
                    lr = s["lr"]
                gain = 1.0 if self.fault == "sum" else 1 - b1
                s["m"].mul_(b1).add_(g, alpha=gain)
                s["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
                m = s["m"] / (1 - b1 ** (t + (self.fault == "late debias")))
                root = (s["v"] / (1 - b2**t)).sqrt()
                if self.fault == "eps":
                    root = (s["v"] / (1 - b2**t) + eps**2).sqrt()
                    eps = 0
                if self.fault == "matrices" and p.ndim > 1:
                    root = root.mean()
                if self.fault == "root":
                    root = root.square()
                p.sub_(lr * m / (root + eps))

class OnlyMatrices(MyAdam):
    def step(self, closure=None):
        if any(p.ndim != 2 for g in self.param_groups for p in g["params"]):
            raise ValueError("matrices only")
        super().step(closure)

class Bare:
    def __init__(self, params, lr):
        pass

class NoOptimizer:
    def __init__(self, params, lr):
        raise KeyError("nothing")
'''


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return f"{path}:MyAdam"


def see(against: Any, fault: str = "", recipe: str = "adamw", **settings: Any) -> Any:
    return verify(
        optzoo.load_recipe(recipe), against, constants={"fault": fault} if fault else {}, **settings
    )


def test_a_class_of_ones_own_is_equal(mine: str) -> None:
    found = see(mine)
    assert found.equal
    assert found.gap.size < 1e-9
    assert dict(found.arguments.mapped) == {
        "lr": ("lr",), "betas": ("beta1", "beta2"), "eps": ("eps",),
        "weight_decay": ("weight_decay",),
    }  # fmt: skip
    assert "MyAdam computes adamw" in sentence(found)


@pytest.mark.parametrize(
    ("fault", "term"),
    [
        ("decay", "weight decay"),
        ("schedule", "a learning rate that moves"),
        ("eps", "eps"),
        ("matrices", "tensors that are no vectors"),
    ],
)
def test_the_guilty_term_is_named(mine: str, fault: str, term: str) -> None:
    found = see(mine, fault)
    assert not found.equal
    assert found.terms == (term,)
    assert f"through {term}" in sentence(found)


def test_a_decay_that_forgets_the_schedule_needs_both_terms(mine: str) -> None:
    found = see(mine, "no lr in decay")
    assert len(found.terms) == 1
    assert found.terms[0] in ("weight decay", "a learning rate that moves")


def test_weights_are_read_off_a_black_box(mine: str) -> None:
    found = see(mine, "sum")
    assert found.terms == ()
    assert found.weight is not None
    assert (found.weight.t, found.weight.s) == (1, 1)
    assert found.weight.theirs == pytest.approx(10 * found.weight.ours, rel=1e-6)
    late = see(mine, "late debias").weight
    assert late is not None
    assert late.theirs / late.ours == pytest.approx((1 - 0.9) / (1 - 0.9**2), rel=1e-6)


def test_what_divides_the_step_is_blamed_where_all_weights_agree(mine: str) -> None:
    found = see(mine, "root")
    assert (found.terms, found.weight) == ((), None)
    assert "divides" in sentence(found)


def test_the_probe_reads_beta_a_eta_a_and_alpha_a() -> None:
    """Of Nesterov momentum at lr 0.5: decay 0.8, eta_a = lr momentum, alpha_a = lr."""

    def make(params: list) -> Any:
        return torch.optim.SGD(params, lr=0.5, momentum=0.8, nesterov=True).step

    with float64():
        weights = probe(make)
    assert weights.linear
    assert weights.form(5) == pytest.approx((0.8, 0.4, 0.5), rel=1e-12)


def test_a_closure_is_given_where_one_is_wanted(mine: str) -> None:
    assert see(mine, "closure").equal


def test_mistakes_of_a_class_are_one_message(mine: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MyAdam fails at step 3: ValueError: no third step"):
        see(mine, "raises")
    with pytest.raises(InputError, match="NoOptimizer cannot be made: KeyError"):
        see(mine.replace("MyAdam", "NoOptimizer"))
    with pytest.raises(InputError, match="Bare is no torch optimizer"):
        see(mine.replace("MyAdam", "Bare"))
    with pytest.raises(InputError, match="has no class `MyAdem`"):
        see(mine.replace("MyAdam", "MyAdem"))
    with pytest.raises(InputError, match="there is no file"):
        see("nowhere.py:A")
    with pytest.raises(InputError, match="cannot be loaded: ModuleNotFoundError"):
        see("no.such.module:A")
    with pytest.raises(InputError, match="names no class"):
        see("torch.optim")
    broken = tmp_path / "broken.py"
    broken.write_text("1/0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        see(f"{broken}:A")
    with pytest.raises(InputError, match="has no argument `fualt`"):
        verify(optzoo.load_recipe("adamw"), mine, constants={"fualt": 1})
    with pytest.raises(InputError, match="`beta7` is not a hyperparameter of adamw"):
        verify(optzoo.load_recipe("adamw"), mine, names={"eps": "beta7"})


def test_a_class_that_takes_only_matrices_is_compared_on_those(mine: str) -> None:
    found = see(mine.replace("MyAdam", "OnlyMatrices"))
    assert found.equal
    assert any("only matrices were compared" in note for note in found.notes)
    assert see(mine.replace("MyAdam", "OnlyMatrices"), "decay").terms == ("weight decay",)


def test_nothing_of_the_process_is_left_changed(mine: str) -> None:
    before, state = torch.get_default_dtype(), torch.get_rng_state()
    see(mine, "sum")
    assert torch.get_default_dtype() == before
    assert torch.equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------ packages


def by_agreement(agreement: Agreement) -> dict[str, Any]:
    """Return the arguments of a row as `verify` takes them, names kept apart from values."""
    recipe = optzoo.load_recipe(agreement.recipe)
    marks = {n: 1000.25 + i for i, n in enumerate(recipe.hyperparameters)}
    back = {v: n for n, v in marks.items()}
    back |= {int(v): n for n, v in marks.items()}  # a number of steps
    names, constants = {}, {}
    for argument, value in agreement.arguments(marks).items():
        parts = value if isinstance(value, tuple) else (value,)
        if all(part in back for part in parts):
            names[argument] = ",".join(back[part] for part in parts)
        else:
            constants[argument] = tuple(0.9 if p in back else p for p in parts) if (
                isinstance(value, tuple)
            ) else value  # fmt: skip
    return {"names": names, "constants": constants}


@pytest.mark.parametrize("agreement", RIGHT, ids=str)
def test_the_right_classes_pass(agreement: Agreement) -> None:
    pytest.importorskip(agreement.package)
    if agreement.recipe in ("lars", "shampoo", "mars_lion", "qhadam", "adafactor"):
        pytest.skip("treats vectors otherwise, or keeps numbers in float32: told below")
    if agreement.recipe == "sgd_sai":
        pytest.skip("its average starts at 0, which is seen: the two agree without momentum")
    if "muon" in agreement.recipe:
        pytest.skip("guards the norm before `polar` in another way, which is seen")
    recipe = optzoo.load_recipe(agreement.recipe)
    found = verify(recipe, f"{agreement.package}:{agreement.optimizer}", **by_agreement(agreement))
    assert found.equal, format_verification(found)


def test_what_a_right_class_does_otherwise_is_told() -> None:
    """pytorch_optimizer's LARS and Shampoo leave vectors alone; QHAdam has two float32 numbers."""
    module = pytest.importorskip("pytorch_optimizer")
    lars = verify(optzoo.load_recipe("lars"), module.LARS)
    assert lars.terms == ("tensors that are no matrices",)
    shampoo = verify(optzoo.load_recipe("shampoo"), module.Shampoo)
    assert shampoo.terms == ("tensors that are no matrices",)
    qhadam = verify(optzoo.load_recipe("qhadam"), module.QHAdam)
    assert qhadam.gap.size < 1e-6
    assert "float32" in sentence(qhadam)


def test_weights_under_a_sign_are_found_by_where_it_turns() -> None:
    """Lion with its momentum updated first: 0.9*0.99*0.01/(0.1 + 0.9*0.01) for 0.9*0.01/0.1."""

    class Hasty(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float, betas: Any = (0.9, 0.99)) -> None:
            super().__init__(params, {"lr": lr, "betas": betas})

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in (p for p in group["params"] if p.grad is not None):
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.mul_(group["betas"][1]).add_(p.grad, alpha=1 - group["betas"][1])
                    mixed = group["betas"][0] * m + (1 - group["betas"][0]) * p.grad
                    p.sub_(group["lr"] * torch.sign(mixed))

    found = verify(optzoo.load_recipe("lion"), Hasty)
    assert found.weight is not None
    assert found.weight.under_a_sign
    assert found.weight.ours == pytest.approx(0.09, rel=1e-9)
    assert found.weight.theirs == pytest.approx(0.9 * 0.0099 / 0.109, rel=1e-9)


POINTED = [
    ("K1", "simplified_ademamix", "SimplifiedAdEMAMix", {}, "the weights of the gradients"),
    ("K2", "ademamix", "AdEMAMix", {}, "weight decay"),
    ("K3", "adopt", "ADOPT", {}, "divides, clips"),
    ("K5", "mars", "MARS", {"optimize_1d": True}, "eps"),
    ("K6", "laprop_official", "LaProp", {}, "weight decay"),
    ("K9", "grokfast_adamw", "GrokFastAdamW", {}, "eps"),
    ("K10", "lamb", "Lamb", {}, "the weights of the gradients"),
]


@pytest.mark.parametrize(("key", "recipe", "name", "constants", "term"), POINTED)
def test_the_wrong_classes_are_pointed_at(
    key: str, recipe: str, name: str, constants: dict, term: str
) -> None:
    import importlib.metadata

    module = pytest.importorskip("pytorch_optimizer")
    if importlib.metadata.version("pytorch-optimizer") != WRONG[key].version:
        pytest.skip(f"{key} is about {WRONG[key].version}")
    names = {"t_alpha_beta3": "warmup"} if key == "K2" else {}
    found = verify(
        optzoo.load_recipe(recipe), getattr(module, name), names=names, constants=constants
    )
    assert not found.equal
    assert term in sentence(found)


def test_what_a_training_loop_may_stumble_on_is_noted() -> None:
    schedulefree = pytest.importorskip("schedulefree")
    found = verify(optzoo.load_recipe("schedule_free_adamw"), schedulefree.AdamWScheduleFree)
    assert found.equal
    assert any("changes the gradients" in note for note in found.notes)
    assert any("one clock" in note for note in found.notes)


def test_arguments_are_found_by_name() -> None:
    def mapped(cls: Any, recipe: str) -> dict:
        return dict(map_arguments(cls, optzoo.load_recipe(recipe), {}, {}).mapped)

    assert mapped(torch.optim.SGD, "signum")["momentum"] == ("beta",)
    assert mapped(torch.optim.AdamW, "schedule_free_adamw")["betas"] == ("beta", "beta2")
    unmapped = map_arguments(torch.optim.AdamW, optzoo.load_recipe("mars"), {}, {}).unmapped
    assert unmapped == ("gamma",)


# ------------------------------------------------------------------ the command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command(mine: str) -> None:
    code, text = run("adamw", "--against", mine)
    assert code == 0
    assert text.startswith("MyAdam computes adamw")
    assert "betas=(beta1, beta2)" in text
    code, text = run("adamw", "--against", mine, "--kwargs", '{"fault": "eps"}', "--json")
    assert code == 1
    assert json.loads(text)["terms"] == ["eps"]
    code, _ = run("sgd_nesterov", "--against", "torch.optim:SGD", "--kwargs", '{"nesterov": true}')
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kwargs", "nonsense"), "write `--kwargs NAME=VALUE`"),
        (("--kwargs", "{nonsense"), "no JSON object"),
        (("--kwargs", "eps=1", "--kwargs", "eps=2"), "given twice"),
        (("--set", "beta9=1"), "beta9"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("adamw", "--against", "torch.optim:AdamW", *arguments)
