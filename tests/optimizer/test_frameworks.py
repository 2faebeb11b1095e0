"""Other training loops that save, resume, evaluate and adapt: docs/integrations.md lists the runs.

A package that is not installed skips visibly: `pip install accelerate transformers lightning peft`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from loops import assert_same
from torch import Tensor, nn

import optzoo
from optzoo.optimizer import RecipeOptimizer

pytestmark = pytest.mark.filterwarnings("default")  # warnings of other packages are theirs
STEPS = 12
ROWS = [
    {"x": x, "labels": x.sum(-1, keepdim=True)}
    for x in torch.randn(4 * STEPS, 3, generator=torch.Generator().manual_seed(0))
]


class Regression(nn.Module):
    """Keywords in, a loss out."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        out = self.inner(x.to(self.inner[0].weight.dtype)).float()
        return {"loss": nn.functional.mse_loss(out, labels), "logits": out}


def build(params: Any, name: str = "schedule_free_adamw") -> Any:
    return optzoo.load_recipe(name).build(params, lr=0.05, total_steps=STEPS)


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def hugging_face(folder: Path, model: nn.Module, way: str, name: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        per_device_train_batch_size=4,
        max_steps=STEPS,
        max_grad_norm=0.0,
        report_to=[],
        save_strategy="steps",
        save_steps=4,
        eval_strategy="steps",
        eval_steps=2,
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        **options,
    )
    data = {"train_dataset": ROWS, "eval_dataset": ROWS[:8]}
    if way == "optimizers":
        made = (build(model.parameters(), name), None)
        return transformers.Trainer(model=model, args=arguments, optimizers=made, **data)
    if way == "optimizer_cls_and_kwargs":
        knobs = {"recipe": optzoo.load_recipe(name), "lr": 0.05, "total_steps": STEPS}
        factory = (RecipeOptimizer, knobs)
        return transformers.Trainer(
            model=model, args=arguments, optimizer_cls_and_kwargs=factory, **data
        )

    class Own(transformers.Trainer):  # type: ignore[name-defined,misc]
        def create_optimizer(self, model: Any = None) -> Any:
            self.optimizer = build(self.model.parameters(), name)
            return self.optimizer

    return Own(model=model, args=arguments, **data)


WAYS = ("optimizers", "optimizer_cls_and_kwargs", "create_optimizer")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["schedule_free_adamw", "ademamix"])
def test_hugging_face_resumes(name: str, way: str, tmp_path: Path) -> None:
    """Broken off after 8 steps, evaluating every 2: it ends where a run that was not does."""
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    options = {"lr_scheduler_type": "constant" if name.startswith("schedule") else "linear"}
    whole, broken = Regression(), Regression()
    hugging_face(tmp_path, whole, way, name, **options).train()
    trainer = hugging_face(tmp_path, broken, way, name, **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert {float(s["step"]) for s in trainer.optimizer.state.values()} == {STEPS}
    assert_same(weights(whole), weights(broken))


def test_hugging_face_takes_the_best_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = Regression()
    options = {"load_best_model_at_end": True, "save_steps": 4, "eval_steps": 4}
    options |= {"lr_scheduler_type": "constant"}
    transformers = pytest.importorskip("transformers")
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        per_device_train_batch_size=4,
        max_steps=STEPS,
        report_to=[],
        save_strategy="steps",
        eval_strategy="steps",
        disable_tqdm=True,
        **options,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=ROWS,
        eval_dataset=ROWS[:8],
        optimizers=(build(model.parameters()), None),
    )
    trainer.train()
    best = weights(model)
    found = trainer.evaluate()["eval_loss"]
    assert found == pytest.approx(trainer.state.best_metric, rel=1e-5)
    assert_same(best, weights(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_accelerate_saves_and_loads(dtype: torch.dtype, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")

    def go(model: nn.Module, prepared: Any, scheduler: Any, steps: range) -> None:
        for step in steps:
            with accelerator.accumulate(model):
                rows = ROWS[4 * step : 4 * step + 4]
                x, y = (torch.stack([r[k] for r in rows]) for k in ("x", "labels"))
                accelerator.backward(model(x, y)["loss"])
                prepared.step()
                scheduler.step()
                prepared.zero_grad()

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    ends = []
    for resumes in (False, True):
        model = Regression(dtype)
        opt = build(model.parameters())
        scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=4 * STEPS)
        accelerator._models, accelerator._optimizers, accelerator._schedulers = [], [], []
        wrapped, prepared, planned = accelerator.prepare(model, opt, scheduler)
        if resumes:
            accelerator.load_state(str(tmp_path))
        else:
            go(wrapped, prepared, planned, range(6))
            accelerator.save_state(str(tmp_path))
        go(wrapped, prepared, planned, range(6, 12))
        ends.append(weights(model))
    assert_same(*ends)


def test_lightning_resumes_and_its_monitor_reads_the_momentum(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    seen: list[dict[str, float]] = []

    class Module(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = Regression()

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            return self.model(**batch)["loss"]  # type: ignore[no-any-return]

        def configure_optimizers(self) -> Any:
            opt = build(self.model.parameters())
            scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=STEPS + 1)
            return {
                "optimizer": opt,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    class Log(lightning.pytorch.loggers.logger.DummyLogger):  # type: ignore[name-defined,misc]
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            seen.append(metrics)

    loader = torch.utils.data.DataLoader(ROWS, batch_size=4)
    ends = []
    for start in (None, str(tmp_path / "half.ckpt")):
        module = Module()
        monitor = lightning.pytorch.callbacks.LearningRateMonitor("step", log_momentum=True)
        saver = lightning.pytorch.callbacks.ModelCheckpoint(
            tmp_path, "half", every_n_train_steps=6, save_top_k=-1
        )
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=STEPS,
            logger=Log(),
            log_every_n_steps=1,
            callbacks=[monitor, saver] if start is None else [monitor],
            enable_checkpointing=start is None,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(tmp_path),
        )
        trainer.fit(module, loader, ckpt_path=start)
        ends.append(weights(module))
    momenta = [v for row in seen for k, v in row.items() if k.endswith("momentum")]
    assert len(set(momenta)) > 3
    assert_same(*ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_adapters_of_peft(dtype: torch.dtype) -> None:
    """The base is frozen and costs nothing; the adapters train; all parameters may be handed in."""
    peft = pytest.importorskip("peft")
    base = Regression(dtype)
    config = peft.LoraConfig(r=2, target_modules=["inner.0", "inner.2"])
    model = peft.get_peft_model(base, config)
    opt = build(model.parameters(), "ademamix")
    frozen = [p.detach().clone() for p in model.parameters() if not p.requires_grad]
    losses = []
    for step in range(STEPS):
        rows = ROWS[4 * step : 4 * step + 4]
        x, y = (torch.stack([r[k] for r in rows]) for k in ("x", "labels"))
        opt.zero_grad()
        loss = model(x=x, labels=y)["loss"]
        loss.backward()
        opt.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert_same([p.detach() for p in model.parameters() if not p.requires_grad], frozen)
    assert len(opt.state) == sum(p.requires_grad for p in model.parameters())
    held = {n for n, p in model.named_parameters() if p in opt.state}
    assert all("lora_" in n for n in held)
