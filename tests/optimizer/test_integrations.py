"""The examples of docs/integrations.md, run: Accelerate, the Hugging Face Trainer, Lightning.

Each trains the same small regression as a plain loop and must end in the same weights. A package
that is not installed skips visibly: `pip install accelerate transformers lightning`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optzoo

pytestmark = pytest.mark.filterwarnings("default")  # warnings of other packages are theirs
STEPS = 12
RECIPE = "schedule_free_adamw"


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(4, 3, generator=generator) for _ in range(STEPS)]
    return [(x, x.sum(-1, keepdim=True)) for x in rows]


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def make_optimizer(model: nn.Module) -> Any:
    return optzoo.load_recipe(RECIPE).build(model.parameters(), lr=0.05, total_steps=STEPS)


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.fixture(scope="module")
def plain() -> list[Tensor]:
    model = make_model()
    opt = make_optimizer(model)
    for x, y in data():
        opt.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        opt.step()
    return weights(model)


def assert_same(model: nn.Module, wanted: list[Tensor]) -> None:
    for p, q in zip(weights(model), wanted, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_accelerate(plain: list[Tensor]) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = make_model()
    opt = make_optimizer(model)
    wrapped, prepared = accelerator.prepare(model, opt)
    for x, y in data():
        prepared.zero_grad()
        accelerator.backward(nn.functional.mse_loss(wrapped(x), y))
        prepared.step()
    assert_same(model, plain)
    with opt.evaluation():  # the optimizer itself, not its wrapper
        assert not torch.equal(weights(model)[0], plain[0])
    assert_same(model, plain)


class Regression(nn.Module):
    """What the Hugging Face Trainer trains: keywords in, a loss out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(self.inner(x), labels)}


def test_hugging_face_trainer(plain: list[Tensor], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = Regression()
    opt = make_optimizer(model)
    rows = [
        {"x": x[i], "labels": y[i]} for x, y in data() for i in range(4)
    ]  # in order: no shuffling, so that the loop is the plain one
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        per_device_train_batch_size=4,
        max_steps=STEPS,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        report_to=[],
        save_strategy="steps",
        save_steps=STEPS,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, optimizers=(opt, None)
    )
    trainer.train()
    assert_same(model.inner, plain)
    assert list(tmp_path.glob("checkpoint-*/optimizer.pt"))


def test_lightning(plain: list[Tensor], tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_model()

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            x, y = batch
            return nn.functional.mse_loss(self.inner(x), y)

        def configure_optimizers(self) -> Any:
            return make_optimizer(self.inner)

    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    trainer.fit(module, torch.utils.data.DataLoader(data(), batch_size=None))
    assert_same(module.inner, plain)
