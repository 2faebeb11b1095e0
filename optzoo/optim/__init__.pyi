"""Written by `optzoo describe --all docs/recipes`; do not edit by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim.optimizer import ParamsT

from optzoo.optimizer import RecipeOptimizer

class ADANA(RecipeOptimizer):
    """Adam with log-time momentum and a growing weight on it.

    ADANA (arXiv 2602.05298); mlexpos/adana, adana.py.

    Hyperparameters:
        lr = 1, in [0, inf): learning rate
        delta = 8, in (0, inf): both means decay by 1 - delta/(delta + t)
        kappa = 1, in [0, 1]: the momentum's weight grows like t**(1 - kappa)
        gamma3 = 1, in [0, inf): weight of the momentum
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): after the step, times lr/lr0, not lr
        wd_ts = 1, in (0, inf): steps until the weight decay has halved

    Learning rate: start at lr = 1; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 3.3 lr in all steps of a run, in AdamW lr.

    Made from the recipe `adana`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        delta: float | str = 8.0,
        kappa: float | str = 1.0,
        gamma3: float | str = 1.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        wd_ts: float | str = 1.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ADOPT(RecipeOptimizer):
    """Adam made convergent for every beta2, by normalising with the previous mean square.

    Taniguchi et al. 2024 (arXiv 2411.02853); iShohei220/adopt.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.9999, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): smallest divisor
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adopt`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.9999,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ADOPTDecoupled(RecipeOptimizer):
    """ADOPT with decoupled weight decay.

    Taniguchi et al. 2024 (arXiv 2411.02853); iShohei220/adopt with decouple=True.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.9999, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): smallest divisor
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adopt_decoupled`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.9999,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AGNES(RecipeOptimizer):
    """Accelerated gradient descent that tolerates noise proportional to the gradient.

    Gupta, Siegel and Wojtowytsch 2023 (arXiv 2302.05515); Connections paper, B.1.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        eta = 0.001, in [0, inf): step along the current gradient
        alpha = 0.001, in [0, inf): step along the momentum
        rho = 0.99, in [0, 1]: decay of the momentum; may be a schedule, t/(t + 3)

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.1 lr in all steps of a run, in SGD lr.

    Made from the recipe `agnes`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        eta: float | str = 0.001,
        alpha: float | str = 0.001,
        rho: float | str = 0.99,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AMSGrad(RecipeOptimizer):
    """AdamW that divides by the largest mean square seen so far.

    Reddi et al. 2018 (arXiv 1904.09237), Algorithm 2; torch.optim.AdamW with amsgrad=True.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `amsgrad`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ASGDJain(RecipeOptimizer):
    """Accelerated SGD for least squares, by a short and a long step.

    Jain et al. 2018 (arXiv 1704.08227); Connections paper, B.2.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        alpha = 0.9, in [0, 1]: weight of x in the gradient point
        beta = 0.1, in [0, 1]: weight of the gradient point in the long sequence
        gamma = 0.01, in [0, inf): long step
        delta = 0.001, in [0, inf): short step

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.0057 lr in all steps of a run, in SGD lr.

    Made from the recipe `asgd_jain`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        alpha: float | str = 0.9,
        beta: float | str = 0.1,
        gamma: float | str = 0.01,
        delta: float | str = 0.001,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AccSGD(RecipeOptimizer):
    """Accelerated SGD for deep learning, by a short and a long step.

    Kidambi et al. 2018 (arXiv 1803.05591); rahulkidambi/AccSGD.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        kappa = 1000, in [1, inf): ratio of the long step to the short one
        xi = 10, in [0, inf): advantage of acceleration
        small_const = 0.7, in (0, 1]: a constant below 1, called s here

    Learning rate: start at lr = 0.001; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 4.5 lr in all steps of a run, in SGD lr.

    Made from the recipe `accsgd`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        kappa: float | str = 1000.0,
        xi: float | str = 10.0,
        small_const: float | str = 0.7,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AcceleratedAdamW(RecipeOptimizer):
    """AdamW on accelerated SGD, evaluated at a tailed average.

    Connections paper (arXiv 2502.02431), section 4.5, Algorithm 3.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.999, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        beta3 = 0.9, in [0, 1]: weight of the momentum in the mix
        delta = 0.1, in (0, 1]: share of the run that is averaged
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `accelerated_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.999,
        beta2: float | str = 0.999,
        beta3: float | str = 0.9,
        delta: float | str = 0.1,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AcceleratedAdamWLiteral(RecipeOptimizer):
    """Algorithm 3 with its averaging line as printed, a uniform average.

    Connections paper (arXiv 2502.02431), section 4.5, Algorithm 3, line 7 as printed.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.999, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        beta3 = 0.9, in [0, 1]: weight of the momentum in the mix
        delta = 0.1, in (0, 1]: share of the run that is averaged
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `accelerated_adamw_literal`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.999,
        beta2: float | str = 0.999,
        beta3: float | str = 0.9,
        delta: float | str = 0.1,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AcceleratedSGD(RecipeOptimizer):
    """The paper's common form of momentum plus current gradient, with momentum 1 - k/t.

    Connections paper (arXiv 2502.02431), section 3.3, Eq. (1), and section 4.4.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        eta = 0.001, in [0, inf): weight of the momentum sum
        alpha = 0.001, in [0, inf): weight of the current gradient
        k = 1, in [0, inf): the momentum decays by max(0, 1 - k/t)

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 3.5 lr in all steps of a run, in SGD lr.

    Made from the recipe `accelerated_sgd`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        eta: float | str = 0.001,
        alpha: float | str = 0.001,
        k: float | str = 1.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdEMAMix(RecipeOptimizer):
    """AdamW with a second, slow momentum added to the fast one.

    Pagliardini, Ablin and Grangier 2024 (arXiv 2409.03137); Connections paper, Algorithm 1.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the fast momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        beta3 = 0.9999, in [0, 1): final decay of the slow momentum
        alpha = 2, in [0, inf): final weight of the slow momentum
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr
        warmup = T, in [1, inf): steps until alpha and beta3 reach their final values

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 2 lr in all steps of a run, in AdamW lr.

    It needs `total_steps`, the length T of the run.

    Made from the recipe `ademamix`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        beta3: float | str = 0.9999,
        alpha: float | str = 2.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        warmup: float | str = "T",
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdEMAMixMuon(RecipeOptimizer):
    """A fast and a slow momentum before one orthogonaliser.

    ours; Koratahiu/Advanced_Optimizers offers the like.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr
        slow = 0.999, in [0, 1): decay of the slow momentum
        alpha = 2, in [0, inf): weight of the slow momentum

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `ademamix_muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        slow: float | str = 0.999,
        alpha: float | str = 2.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdaBelief(RecipeOptimizer):
    """Adam that divides by how far the gradient lies from its mean.

    Zhuang et al. 2020 (arXiv 2010.07468), Algorithm 2; juntang-zhuang/Adabelief-Optimizer.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the variance
        eps = 1e-16, in (0, inf): added to the variance and after its root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adabelief`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-16,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdaMuon(RecipeOptimizer):
    """Muon on the signs of its momentum, each element divided by its running size.

    Si et al. 2025 (arXiv 2507.11005 v3); Chongjie-Si/AdaMuon,
    gpt2/models/optimizers/adamuon.py.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.01, in [0, inf): decoupled, times lr
        eps = 1e-08, in (0, inf): added to the roots, and to the norm

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `adamuon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.01,
        eps: float | str = 1e-08,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Adadelta(RecipeOptimizer):
    """Gradients scaled to the size of the steps taken so far.

    Zeiler 2012 (arXiv 1212.5701), Algorithm 1; torch.optim.Adadelta.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the step of the paper
        rho = 0.9, in [0, 1): decay of both mean squares
        eps = 1e-06, in (0, inf): added inside both roots
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 1; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adadelta`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        rho: float | str = 0.9,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Adafactor(RecipeOptimizer):
    """Adam's second moment as the product of row and column means.

    Shazeer and Stern 2018 (arXiv 1804.04235); torch.optim.Adafactor.

    Hyperparameters:
        lr = 0.01, in [0, inf): largest relative step
        decay = 0.8, in (0, 1]: the means decay by 1 - t**-decay
        eps1 = 2.22045e-16, in (0, inf): smallest mean
        eps2 = 0.001, in (0, inf): smallest size of a parameter
        d = 1, in (0, inf): largest RMS of the update
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.01; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adafactor`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        decay: float | str = 0.8,
        eps1: float | str = 2.220446049250313e-16,
        eps2: float | str = 0.001,
        d: float | str = 1.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Adagrad(RecipeOptimizer):
    """Gradients divided by the root of the sum of their squares.

    Duchi, Hazan and Singer 2011; recurrence of torch.optim.Adagrad, accumulator from 0.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        lr_decay = 0, in [0, inf): lr falls like 1/(1 + lr_decay*(t - 1))
        eps = 1e-10, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.01; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adagrad`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        lr_decay: float | str = 0.0,
        eps: float | str = 1e-10,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdamAtan2(RecipeOptimizer):
    """Adam with an angle in place of the quotient, and no eps.

    Everett et al. 2024 (arXiv 2407.05872); adam-atan2-pytorch 0.4.1.

    Hyperparameters:
        lr = 0.0001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.99, in [0, 1): decay of the squared gradient
        a = 1.27, in (0, inf): factor of the angle
        b = 1, in (0, inf): factor of the root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0001; on SGD's scale, the gradient as it is, not AdamW's.

    Made from the recipe `adam_atan2`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.99,
        a: float | str = 1.27,
        b: float | str = 1.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdamMini(RecipeOptimizer):
    """AdamW with one second moment per output, per head, or per tensor.

    Zhang et al. 2024 (arXiv 2406.16793); zyushun/Adam-mini adam_mini.py 1.1.1.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the mean squares
        eps = 1e-08, in (0, inf): added after the root
        weight_decay = 0, in [0, inf): decoupled, times lr
        heads = 4, in [1, inf): heads of queries and keys

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adam_mini`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        heads: float | str = 4.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdamMomentumSchedule(RecipeOptimizer):
    """AdamW whose momentum grows over the run.

    Connections paper (arXiv 2502.02431), sections 4.4 and 5.1; schedule of Algorithm 2, line
    2.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.99, in [0, 1): final decay of the momentum
        beta_start = 0.9, in [0, 1): decay of the momentum at the start
        beta2 = 0.95, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    It needs `total_steps`, the length T of the run.

    Made from the recipe `adam_momentum_schedule`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.99,
        beta_start: float | str = 0.9,
        beta2: float | str = 0.95,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdamW(RecipeOptimizer):
    """Adam with decoupled weight decay.

    Loshchilov and Hutter 2019 (arXiv 1711.05101), Algorithm 2; torch.optim.AdamW.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdamWAveraged(RecipeOptimizer):
    """AdamW, evaluated at the mean of the last part of its iterates.

    Connections paper (arXiv 2502.02431), section 3.2 and Appendix A.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times lr
        delta = 0.1, in (0, 1]: share of the run that is averaged

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adamw_averaged`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        delta: float | str = 0.1,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Adamax(RecipeOptimizer):
    """Adam that divides by a decaying maximum of the gradient's size.

    Kingma and Ba 2015 (arXiv 1412.6980), Algorithm 2; torch.optim.Adamax.

    Hyperparameters:
        lr = 0.002, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the maximum
        eps = 1e-08, in (0, inf): added to the size of the gradient
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.002; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `adamax`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.002,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Adan(RecipeOptimizer):
    """Adam with a Nesterov term made of gradient differences.

    Xie et al. 2022 (arXiv 2208.06677), Algorithm 1; sail-sg/Adan.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate; 5 to 10 times Adam's by its authors
        beta1 = 0.98, in [0, 1): decay of the momentum
        beta2 = 0.92, in [0, 1): decay of the gradient differences
        beta3 = 0.99, in [0, 1): decay of the mean square
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): proximal, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; 5 to 10 times Adam's by its authors.

    Made from the recipe `adan`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.98,
        beta2: float | str = 0.92,
        beta3: float | str = 0.99,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AdanNoProx(RecipeOptimizer):
    """Adan with decoupled in place of proximal weight decay.

    Xie et al. 2022 (arXiv 2208.06677); sail-sg/Adan with no_prox=True.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate; 5 to 10 times Adam's by its authors
        beta1 = 0.98, in [0, 1): decay of the momentum
        beta2 = 0.92, in [0, 1): decay of the gradient differences
        beta3 = 0.99, in [0, 1): decay of the mean square
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; 5 to 10 times Adam's by its authors.

    Made from the recipe `adan_no_prox`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.98,
        beta2: float | str = 0.92,
        beta3: float | str = 0.99,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class AggMo(RecipeOptimizer):
    """The mean of several momenta with different decays.

    Lucas et al. 2019 (arXiv 1804.00325); AtheMathmo/AggMo.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0, in [0, 1): decay of the first momentum sum
        beta2 = 0.9, in [0, 1): decay of the second momentum sum
        beta3 = 0.99, in [0, 1): decay of the third momentum sum

    Learning rate: start at lr = 0.001; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 37 lr in all steps of a run, in SGD lr.

    Made from the recipe `aggmo`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.0,
        beta2: float | str = 0.9,
        beta3: float | str = 0.99,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class CautiousAdamW(RecipeOptimizer):
    """AdamW that moves only where momentum and gradient agree.

    Liang et al. 2024 (arXiv 2411.16085), Algorithm 1; kyleliang919/C-Optim c_adamw.py.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): added after the square root, before debiasing
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `cautious_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class CautiousLion(RecipeOptimizer):
    """Lion that moves only where its sign is the gradient's.

    Liang et al. 2024 (arXiv 2411.16085); kyleliang919/C-Optim c_lion.py.

    Hyperparameters:
        lr = 0.0001, in [0, inf): learning rate; 3 to 10 times less than AdamW's by Lion's
            authors, with as many times more weight decay
        beta1 = 0.9, in [0, 1]: weight of the momentum in the mix
        beta2 = 0.99, in [0, 1): decay of the momentum
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0001; the step is a sign, so every element moves by lr
    whatever the gradient; 3 to 10 times less than AdamW's by Lion's authors, with as many
    times more weight decay.

    Made from the recipe `cautious_lion`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.99,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class DANA(RecipeOptimizer):
    """SGD with log-time momentum, whose weight stays or decays.

    Ferbach et al. 2025 (arXiv 2505.16098), DANA-constant and DANA-decaying; Paquette et al.
    2024 (arXiv 2405.15074) for the model it is analysed on.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        gamma2 = 0.001, in [0, inf): weight of the current gradient
        gamma3 = 0.0001, in [0, inf): weight of the momentum, before it decays
        kappa3 = 0.5, in [0, inf): the momentum's weight falls like (1 + t)**-kappa3
        delta = 6, in (0, inf): the momentum decays by 1 - delta/(delta + t)

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.0023 lr in all steps of a run, in SGD lr.

    Made from the recipe `dana`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        gamma2: float | str = 0.001,
        gamma3: float | str = 0.0001,
        kappa3: float | str = 0.5,
        delta: float | str = 6.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class DecoupledScheduleFreeAdamW(RecipeOptimizer):
    """Schedule-Free AdamW with momentum and averaging as separate knobs.

    ours; motivated by the Connections paper (arXiv 2502.02431), sections 4.1 and 5.1.

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate
        beta = 0.9, in [0, 1]: weight of the momentum against the current gradient
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        delta = 0.1, in [0, 1]: share of the run that is averaged
        k = 1, in (0, inf): the momentum decays by max(0, 1 - k/t), one step late
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.55 lr in all steps of a run, in AdamW lr.

    Made from the recipe `decoupled_schedule_free_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        beta2: float | str = 0.999,
        delta: float | str = 0.1,
        k: float | str = 1.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class GPAAdamW(RecipeOptimizer):
    """AdamW with a decaying average of the iterates, and gradients taken near it.

    Generalized primal averaging (arXiv 2512.17131); facebookresearch/optimizers, gpa.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        mu_x = 0.9967, in [0, 1]: decay of the average that is evaluated
        mu_y = 0.7, in [0, 1]: how near the gradient point is to the average
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr, at the gradient point

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `gpa_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        mu_x: float | str = 0.9967,
        mu_y: float | str = 0.7,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Grams(RecipeOptimizer):
    """AdamW steps in size, the gradient in sign.

    Cao et al. 2024 (arXiv 2412.17107), Algorithm 1; Gunale0926/Grams.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `grams`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class GrokfastAdamW(RecipeOptimizer):
    """AdamW on gradients whose slow part is amplified.

    Lee et al. 2024 (arXiv 2405.20233), Grokfast-EMA; ironjr/grokfast; torch.optim.AdamW.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times lr
        a = 0.98, in [0, 1): decay of the slow part
        lamb = 2, in [0, inf): weight of the slow part

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 3 lr in all steps of a run, in AdamW lr.

    Made from the recipe `grokfast_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        a: float | str = 0.98,
        lamb: float | str = 2.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LAMB(RecipeOptimizer):
    """Adam steps as long as their layer.

    You et al. 2020 (arXiv 1904.00962), Algorithm 2.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): inside the ratio

    Learning rate: start at lr = 0.001; relative to the norms of whole tensors, which is not
    AdamW's scale.

    Made from the recipe `lamb`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.01,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LARS(RecipeOptimizer):
    """Momentum of gradients scaled to the size of their layer.

    You et al. 2017 (arXiv 1708.03888), Algorithm 1.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        momentum = 0.9, in [0, 1]: decay of the momentum sum
        trust_coefficient = 0.001, in (0, inf): step, as a share of the parameter's norm
        weight_decay = 0, in [0, inf): coupled; inside the ratio

    Learning rate: start at lr = 0.001; relative to the norms of whole tensors, which is not
    AdamW's scale; a gradient weighs 10 lr in all steps of a run, in AdamW lr.

    Made from the recipe `lars`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        momentum: float | str = 0.9,
        trust_coefficient: float | str = 0.001,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LaProp(RecipeOptimizer):
    """Adam with the two steps swapped, so that normalised gradients are averaged.

    Ziyin, Wang and Ueda 2021 (arXiv 2002.04839), Algorithm 1.

    Hyperparameters:
        lr = 0.0004, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-15, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0004; on AdamW's scale, a gradient over the root of its
    mean square.

    Made from the recipe `laprop`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0004,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-15,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LaPropMuon(RecipeOptimizer):
    """Muon with the two steps swapped, so that orthogonalised gradients are averaged.

    ours; the order of LaProp (arXiv 2002.04839) with Muon's orthogonaliser.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `laprop_muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LaPropOfficial(RecipeOptimizer):
    """LaProp as its authors' code computes it, with the learning rate inside the buffer.

    Z-T-WANG/LaProp-Optimizer; Ziyin, Wang and Ueda 2021 (arXiv 2002.04839).

    Hyperparameters:
        lr = 0.0004, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-15, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): after the step, not times lr

    Learning rate: start at lr = 0.0004; on AdamW's scale, a gradient over the root of its
    mean square.

    Made from the recipe `laprop_official`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0004,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-15,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Lion(RecipeOptimizer):
    """The sign of a mix of momentum and gradient.

    Chen et al. 2023 (arXiv 2302.06675), Algorithm 2; Connections paper, section 4.2.

    Hyperparameters:
        lr = 0.0001, in [0, inf): learning rate; 3 to 10 times less than AdamW's by its
            authors, with as many times more weight decay
        beta1 = 0.9, in [0, 1]: weight of the momentum in the mix
        beta2 = 0.99, in [0, 1): decay of the momentum
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0001; the step is a sign, so every element moves by lr
    whatever the gradient; 3 to 10 times less than AdamW's by its authors, with as many times
    more weight decay.

    Made from the recipe `lion`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.99,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class LookaheadAdamW(RecipeOptimizer):
    """AdamW, pulled back to slow weights every few steps.

    Zhang et al. 2019 (arXiv 1907.08610), Algorithm 1, around torch.optim.AdamW.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate of the fast steps
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times lr
        alpha = 0.5, in [0, 1]: pace of the slow weights
        fast = 5, in [1, inf): fast steps per slow step

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `lookahead_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        alpha: float | str = 0.5,
        fast: float | str = 5.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MADGRAD(RecipeOptimizer):
    """Dual averaging with the cube root of growing sums of squares, and an average of its points.

    Defazio and Jelassi 2021 (arXiv 2101.11075), Algorithm 1; facebookresearch/madgrad 1.3.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        momentum = 0.9, in [0, 1): share of the old point in the new
        eps = 1e-06, in (0, inf): added after the cube root, and to lr
        weight_decay = 0, in [0, inf): coupled

    Learning rate: start at lr = 0.01; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `madgrad`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        momentum: float | str = 0.9,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MARS(RecipeOptimizer):
    """AdamW on gradients corrected by their change since the last step.

    Yuan et al. 2024 (arXiv 2411.10438), MARS-AdamW, approximate; Connections paper, section
    4.3.

    Hyperparameters:
        lr = 0.003, in [0, inf): learning rate
        beta1 = 0.95, in [0, 1): decay of the momentum
        beta2 = 0.99, in [0, 1): decay of the squared corrected gradient
        gamma = 0.025, in [0, inf): strength of the variance reduction
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.003; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `mars`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.003,
        beta1: float | str = 0.95,
        beta2: float | str = 0.99,
        gamma: float | str = 0.025,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MARSLion(RecipeOptimizer):
    """The sign of a momentum of corrected gradients.

    Yuan et al. 2024 (arXiv 2411.10438), MARS-Lion, approximate; AGI-Arena/MARS.

    Hyperparameters:
        lr = 0.003, in [0, inf): learning rate
        beta1 = 0.95, in [0, 1): decay of the momentum
        gamma = 0.025, in [0, inf): strength of the variance reduction
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.003; the step is a sign, so every element moves by lr
    whatever the gradient.

    Made from the recipe `mars_lion`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.003,
        beta1: float | str = 0.95,
        gamma: float | str = 0.025,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MARSMuon(RecipeOptimizer):
    """Muon on gradients corrected by their change since the last step.

    Liu et al. 2025 (arXiv 2510.21800), MARS-M, approximate; AGI-Arena/MARS,
    MARS_M/optimizers/mars_m.py.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate of everything
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr
        gamma = 0.025, in [0, inf): strength of the variance reduction

    Learning rate: start at lr = 0.001; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `mars_muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        gamma: float | str = 0.025,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MARSPaper(RecipeOptimizer):
    """MARS without a correction at the first step.

    Yuan et al. 2024 (arXiv 2411.10438), MARS-AdamW, approximate, with x_0 = x_1.

    Hyperparameters:
        lr = 0.003, in [0, inf): learning rate
        beta1 = 0.95, in [0, 1): decay of the momentum
        beta2 = 0.99, in [0, 1): decay of the squared corrected gradient
        gamma = 0.025, in [0, inf): strength of the variance reduction
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.003; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `mars_paper`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.003,
        beta1: float | str = 0.95,
        beta2: float | str = 0.99,
        gamma: float | str = 0.025,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MaSS(RecipeOptimizer):
    """Nesterov momentum with a compensating term for the over-parametrised regime.

    Liu and Belkin 2020 (arXiv 1810.13395); Connections paper, B.3.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        eta1 = 0.1, in [0, inf): step along the current gradient
        eta2 = 0.0873, in [0, inf): compensation added back
        gamma = 0.9048, in [0, 1]: decay of the momentum sum

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.13 lr in all steps of a run, in SGD lr.

    Made from the recipe `mass`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        eta1: float | str = 0.1,
        eta2: float | str = 0.0873,
        gamma: float | str = 0.9048,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Muon(RecipeOptimizer):
    """Orthogonalised Nesterov momentum for hidden matrices, AdamW for the rest.

    KellerJordan/Muon @857d1ad, muon.py; torch.optim.Muon.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class MuonMoonlight(RecipeOptimizer):
    """Muon whose updates have the size of AdamW's, so that one lr and one decay serve all.

    Liu et al. 2025 (arXiv 2502.16982); MoonshotAI/Moonlight @c2ad5b2, examples/toy_train.py.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate of everything
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.001; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `muon_moonlight`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class NAdam(RecipeOptimizer):
    """Adam with Nesterov momentum.

    Dozat 2016; recurrence of torch.optim.NAdam.

    Hyperparameters:
        lr = 0.002, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        momentum_decay = 0.004, in [0, inf): how fast the weight of the momentum rises
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.002; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `nadam`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.002,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        momentum_decay: float | str = 0.004,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class NAdamW(RecipeOptimizer):
    """Adam with Nesterov momentum and decoupled weight decay.

    Dozat 2016; recurrence of torch.optim.NAdam with decoupled_weight_decay=True.

    Hyperparameters:
        lr = 0.002, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        momentum_decay = 0.004, in [0, inf): how fast the weight of the momentum rises
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.002; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `nadamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.002,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        momentum_decay: float | str = 0.004,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class NesterovVaswani(RecipeOptimizer):
    """SGD with Nesterov acceleration, with constant or scheduled coefficients.

    Vaswani, Bach and Schmidt 2019 (arXiv 1810.07288); Connections paper, B.4.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the whole step
        eta = 0.001, in [0, inf): step along the current gradient
        alpha = 0.1, in [0, 1]: weight of v in the gradient point
        beta = 0.9, in [0, 1]: weight of v in its own update
        gamma = 10, in [0, inf): length of the step of v, in units of eta

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.0057 lr in all steps of a run, in SGD lr.

    Made from the recipe `nesterov_vaswani`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        eta: float | str = 0.001,
        alpha: float | str = 0.1,
        beta: float | str = 0.9,
        gamma: float | str = 10.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class NorMuon(RecipeOptimizer):
    """Muon whose rows are normalised by their running size.

    Li et al. 2025 (arXiv 2510.05491); zichongli5/NorMuon @d45c9a4, normuon.py.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.95, in [0, 1): decay of the momentum
        weight_decay = 0.1, in [0, inf): decoupled, times lr
        beta2 = 0.95, in [0, 1): decay of the row means

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `normuon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.95,
        weight_decay: float | str = 0.1,
        beta2: float | str = 0.95,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class NovoGrad(RecipeOptimizer):
    """Momentum of gradients, each divided by the running size of its tensor's.

    Ginsburg et al. 2019 (arXiv 1905.11286), Algorithm 1.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.95, in [0, 1): decay of the momentum sum
        beta2 = 0.98, in [0, 1): decay of the squared norm
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): added to the normalised gradient

    Learning rate: start at lr = 0.001; relative to the norms of whole tensors, which is not
    AdamW's scale; a gradient weighs 20 lr in all steps of a run, in AdamW lr.

    Made from the recipe `novograd`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.95,
        beta2: float | str = 0.98,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Prodigy(RecipeOptimizer):
    """Adam that finds its own step size from the distance travelled.

    Mishchenko and Defazio 2023 (arXiv 2306.06101); prodigyopt 1.1.2.

    Hyperparameters:
        lr = 1, in [0, inf): multiplies the step found
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the root
        d0 = 1e-06, in (0, inf): first estimate
        growth = 1e+300, in [1, inf): largest growth of the estimate per step
        weight_decay = 0, in [0, inf): decoupled

    Learning rate: start at lr = 1; it multiplies a rate that the run finds, from numbers of
    the whole model.

    Made from the recipe `prodigy`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        d0: float | str = 1e-06,
        growth: float | str = 1e300,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class QHAdam(RecipeOptimizer):
    """Adam with a quasi-hyperbolic mix in the numerator and under the root.

    Ma and Yarats 2019 (arXiv 1810.06801), Algorithm 2; facebookresearch/qhoptim.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        nu1 = 1, in [0, 1]: weight of the momentum in the numerator
        nu2 = 1, in [0, 1]: weight of the mean square under the root
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `qhadam`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        nu1: float | str = 1.0,
        nu2: float | str = 1.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class QHM(RecipeOptimizer):
    """Quasi-hyperbolic momentum; a fixed mix of momentum and gradient.

    Ma and Yarats 2019 (arXiv 1810.06801), Eq. (3) and (4).

    Hyperparameters:
        lr = 1, in [0, inf): learning rate
        beta = 0.999, in [0, 1): decay of the momentum
        nu = 0.7, in [0, 1]: weight of the momentum in the mix

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's.

    Made from the recipe `qhm`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        beta: float | str = 0.999,
        nu: float | str = 0.7,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class RAdam(RecipeOptimizer):
    """Adam that trusts its mean square as far as it has seen enough gradients.

    Liu et al. 2020 (arXiv 1908.03265), Algorithm 2; torch.optim.RAdam.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root, before debiasing
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `radam`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class RMSprop(RecipeOptimizer):
    """Gradients divided by the root of their mean square, with optional momentum.

    Tieleman and Hinton 2012; recurrence of torch.optim.RMSprop, not centered.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        alpha = 0.99, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        momentum = 0, in [0, 1]: decay of the momentum sum
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.01; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `rmsprop`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        alpha: float | str = 0.99,
        eps: float | str = 1e-08,
        momentum: float | str = 0.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SGD(RecipeOptimizer):
    """Plain stochastic gradient descent.

    Robbins and Monro 1951; recurrence of torch.optim.SGD with momentum 0.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.001; on SGD's scale, the gradient as it is, not AdamW's.

    Made from the recipe `sgd`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SGDMomentum(RecipeOptimizer):
    """Stochastic gradient descent with heavy-ball momentum.

    Polyak 1964; recurrence of torch.optim.SGD.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        momentum = 0.9, in [0, 1]: decay of the momentum sum
        dampening = 0, in [0, 1]: takes this share off the weight of new gradients
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.01; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 10 lr in all steps of a run, in SGD lr.

    Made from the recipe `sgd_momentum`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        momentum: float | str = 0.9,
        dampening: float | str = 0.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SGDNesterov(RecipeOptimizer):
    """Stochastic gradient descent with Nesterov momentum.

    Sutskever et al. 2013; recurrence of torch.optim.SGD with nesterov=True; Connections
    paper, Eq. (1).

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        momentum = 0.9, in [0, 1]: decay of the momentum sum
        weight_decay = 0, in [0, inf): coupled; added to the gradient

    Learning rate: start at lr = 0.001; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 10 lr in all steps of a run, in SGD lr.

    Made from the recipe `sgd_nesterov`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        momentum: float | str = 0.9,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SGDSaI(RecipeOptimizer):
    """Momentum with one rate for each tensor, found in its first gradient.

    Xu et al. 2024 (arXiv 2412.11768); AnonymousAlethiometer/SGD_SaI 1.0.3.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        momentum = 0.9, in [0, 1): decay of the average
        eps = 1e-08, in (0, inf): added to the deviation
        weight_decay = 0.01, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.01; relative to the norms of whole tensors, which is not
    AdamW's scale.

    Made from the recipe `sgd_sai`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        momentum: float | str = 0.9,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SOAP(RecipeOptimizer):
    """Adam in the eigenbasis of Shampoo's statistics.

    Vyas et al. 2024 (arXiv 2409.11321); nikhilvyas/SOAP @a1e5535, soap.py.

    Hyperparameters:
        lr = 0.003, in [0, inf): learning rate
        beta1 = 0.95, in [0, 1): decay of the momentum
        beta2 = 0.95, in [0, 1): decay of the square and of the statistics
        eps = 1e-08, in (0, inf): added after the root
        weight_decay = 0.01, in [0, inf): after the step, times lr
        frequency = 10, in [1, inf): steps between two bases

    Learning rate: start at lr = 0.003; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `soap`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.003,
        beta1: float | str = 0.95,
        beta2: float | str = 0.95,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.01,
        frequency: float | str = 10.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeAdamW(RecipeOptimizer):
    """AdamW without a learning-rate schedule, by averaging and interpolating the iterates.

    Defazio et al. 2024 (arXiv 2405.15682); schedulefree.AdamWScheduleFree 1.3 and later.

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate; 1 to 10 times AdamW's by its authors, without
            a schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): decoupled, times lr, at the gradient point

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.55 lr in all steps of a run, in AdamW lr; 1 to 10 times
    AdamW's by its authors, without a schedule.

    Made from the recipe `schedule_free_adamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeAdamWDecayAtZ(RecipeOptimizer):
    """Schedule-Free AdamW whose weight decay acts at the base iterate.

    schedulefree.AdamWScheduleFreeReference with decay_at_z=True; Defazio et al. 2024 (arXiv
    2405.15682).

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate; 1 to 10 times AdamW's by its authors, without
            a schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): decoupled, times lr, at the base iterate

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.55 lr in all steps of a run, in AdamW lr; 1 to 10 times
    AdamW's by its authors, without a schedule.

    Made from the recipe `schedule_free_adamw_decay_at_z`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeAdamWInnerMomentum(RecipeOptimizer):
    """Schedule-Free AdamW on an averaged gradient.

    facebookresearch/schedule_free, AdamWScheduleFree with inner_momentum (after 1.4.1).

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate; 1 to 10 times AdamW's by its authors, without
            a schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        inner_momentum = 0.9, in [0, 1): decay of the gradient average
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): decoupled, times lr, at the gradient point

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.55 lr in all steps of a run, in AdamW lr; 1 to 10 times
    AdamW's by its authors, without a schedule.

    Made from the recipe `schedule_free_adamw_inner_momentum`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        inner_momentum: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeAdamWPaper(RecipeOptimizer):
    """Schedule-Free AdamW as in its paper, the debiasing in the step size.

    Defazio et al. 2024 (arXiv 2405.15682), Algorithm 1; schedulefree.AdamWScheduleFreePaper.

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate; 1 to 10 times AdamW's by its authors, without
            a schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): decoupled, times lr, at the gradient point

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.6 lr in all steps of a run, in AdamW lr; 1 to 10 times
    AdamW's by its authors, without a schedule.

    Made from the recipe `schedule_free_adamw_paper`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeMuon(RecipeOptimizer):
    """Muon without a learning-rate schedule.

    ours; schedulefree.ScheduleFreeWrapper around torch.optim.Muon; AMUSE (arXiv 2605.22432)
    varies beta.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        mu = 0, in [0, 1): decay of the inner momentum
        weight_decay = 0, in [0, inf): at the gradient point

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `schedule_free_muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        beta: float | str = 0.9,
        mu: float | str = 0.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeRAdam(RecipeOptimizer):
    """Schedule-Free AdamW with the warmup of RAdam.

    schedulefree.RAdamScheduleFree with silent_sgd_phase=True; Liu et al. 2020 (arXiv
    1908.03265).

    Hyperparameters:
        lr = 0.0025, in [0, inf): learning rate; 1 to 10 times AdamW's by its authors, without
            a schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        beta2 = 0.999, in (0.6, 1): decay of the squared gradient
        eps = 1e-08, in (0, inf): added after the square root
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): decoupled, times lr, at the gradient point

    Learning rate: start at lr = 0.0025; on AdamW's scale, a gradient over the root of its
    mean square; a gradient weighs 0.62 lr in all steps of a run, in AdamW lr; 1 to 10 times
    AdamW's by its authors, without a schedule.

    Made from the recipe `schedule_free_radam`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0025,
        beta: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 1e-08,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class ScheduleFreeSGD(RecipeOptimizer):
    """SGD without a learning-rate schedule, by averaging and interpolating the iterates.

    Defazio et al. 2024 (arXiv 2405.15682); Connections paper, section 4.1;
    schedulefree.SGDScheduleFree.

    Hyperparameters:
        lr = 1, in [0, inf): learning rate; 10 to 50 times SGD's by its authors, without a
            schedule
        beta = 0.9, in [0, 1]: how near the gradient point is to the average
        r = 0, in [0, inf): power of t in the averaging weight
        weight_lr_power = 2, in [0, inf): power of the largest lr in that weight
        weight_decay = 0, in [0, inf): coupled; added to the gradient at its point

    Learning rate: start at lr = 1; on SGD's scale, the gradient as it is, not AdamW's; a
    gradient weighs 0.55 lr in all steps of a run, in SGD lr; 10 to 50 times SGD's by its
    authors, without a schedule.

    Made from the recipe `schedule_free_sgd`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1.0,
        beta: float | str = 0.9,
        r: float | str = 0.0,
        weight_lr_power: float | str = 2.0,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Scion(RecipeOptimizer):
    """Steps of one size in the norm of each kind of layer, and a pull to 0.

    Pethick et al. 2025 (arXiv 2502.07529); LIONS-EPFL/scion @f58a393, scion.py.

    Hyperparameters:
        lr = 0.000244, in [0, inf): learning rate
        alpha = 0.1, in (0, 1]: weight of the new gradient
        radius = 50, in (0, inf): size of the ball of hidden matrices

    Learning rate: start at lr = 0.000244; the step is a polar factor, so every singular value
    of it is about lr.

    Made from the recipe `scion`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.000244,
        alpha: float | str = 0.1,
        radius: float | str = 50.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Shampoo(RecipeOptimizer):
    """Both sides of the gradient divided by the fourth root of what they have gathered.

    Gupta et al. 2018 (arXiv 1802.09568), Algorithm 1; pytorch_optimizer 4.1.0.

    Hyperparameters:
        lr = 0.1, in [0, inf): learning rate
        every = 1, in [1, inf): steps between two roots
        eps = 1e-06, in (0, inf): start of the statistics

    Learning rate: start at lr = 0.1; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `shampoo`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.1,
        every: float | str = 1.0,
        eps: float | str = 1e-06,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Signum(RecipeOptimizer):
    """The sign of the momentum.

    Bernstein et al. 2018 (arXiv 1802.04434), Algorithm 2.

    Hyperparameters:
        lr = 0.0001, in [0, inf): learning rate
        beta = 0.9, in [0, 1): decay of the momentum
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.0001; the step is a sign, so every element moves by lr
    whatever the gradient.

    Made from the recipe `signum`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.0001,
        beta: float | str = 0.9,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SimplifiedAdEMAMix(RecipeOptimizer):
    """AdEMAMix with one momentum sum and a fixed weight on the gradient.

    Connections paper (arXiv 2502.02431), section 4.5, Algorithm 2.

    Hyperparameters:
        lr = 1e-05, in [0, inf): learning rate; AdamW's times sqrt((1 - beta_start)*(1 -
            beta1)) by its authors
        beta1 = 0.999, in [0, 1): final decay of the momentum sum
        beta_start = 0.9, in [0, 1): decay of the momentum sum at the start
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        alpha = 50, in [0, inf): weight of the current gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr
        warmup = T, in [1, inf): steps until beta1 is reached

    Learning rate: start at lr = 1e-05; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 610 lr in all steps of a run, in AdamW lr; AdamW's times sqrt((1
    - beta_start)*(1 - beta1)) by its authors.

    It needs `total_steps`, the length T of the run.

    Made from the recipe `simplified_ademamix`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 1e-05,
        beta1: float | str = 0.999,
        beta_start: float | str = 0.9,
        beta2: float | str = 0.999,
        alpha: float | str = 50.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        warmup: float | str = "T",
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SimplifiedAdEMAMixDebiased(RecipeOptimizer):
    """Simplified-AdEMAMix with its numerator divided by the momentum's mass.

    DepenM/Simplified-AdEMAMix with bias_correction1=True; Connections paper, Algorithm 2.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.999, in [0, 1): final decay of the momentum sum
        beta_start = 0.9, in [0, 1): decay of the momentum sum at the start
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        alpha = 50, in [0, inf): weight of the current gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr
        warmup = T, in [1, inf): steps until beta1 is reached

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 1.2 lr in all steps of a run, in AdamW lr.

    It needs `total_steps`, the length T of the run.

    Made from the recipe `simplified_ademamix_debiased`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.999,
        beta_start: float | str = 0.9,
        beta2: float | str = 0.999,
        alpha: float | str = 50.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        warmup: float | str = "T",
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SimplifiedAdEMAMixMuon(RecipeOptimizer):
    """A sum of gradients and alpha times the current one, before one orthogonaliser.

    ours; Connections paper (arXiv 2502.02431), section 4.5, Algorithm 2, with Muon's
    orthogonaliser.

    Hyperparameters:
        lr = 0.02, in [0, inf): learning rate of the matrices
        mu = 0.99, in [0, 1): decay of the momentum sum
        weight_decay = 0.1, in [0, inf): decoupled, times lr
        alpha = 10, in [0, inf): weight of the current gradient

    Learning rate: start at lr = 0.02; the step is a polar factor, so every singular value of
    it is about lr.

    Made from the recipe `simplified_ademamix_muon`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.02,
        mu: float | str = 0.99,
        weight_decay: float | str = 0.1,
        alpha: float | str = 10.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class SimplifiedAdEMAMixUnitMass(RecipeOptimizer):
    """Simplified-AdEMAMix with a learning rate that compares with AdamW's.

    Connections paper (arXiv 2502.02431), Algorithm 2, its numerator divided by its mass.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.999, in [0, 1): final decay of the momentum sum
        beta_start = 0.9, in [0, 1): decay of the momentum sum at the start
        beta2 = 0.999, in [0, 1): decay of the squared gradient
        alpha = 50, in [0, inf): weight of the current gradient
        eps = 1e-08, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr
        warmup = T, in [1, inf): steps until beta1 is reached

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square; a gradient weighs 1.1 lr in all steps of a run, in AdamW lr.

    It needs `total_steps`, the length T of the run.

    Made from the recipe `simplified_ademamix_unit_mass`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.999,
        beta_start: float | str = 0.9,
        beta2: float | str = 0.999,
        alpha: float | str = 50.0,
        eps: float | str = 1e-08,
        weight_decay: float | str = 0.0,
        warmup: float | str = "T",
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class StableAdamW(RecipeOptimizer):
    """AdamW that shortens the steps of tensors whose gradients outgrow their mean squares.

    Wortsman et al. 2023 (arXiv 2304.13013), Algorithm 2; optimi.StableAdamW.

    Hyperparameters:
        lr = 0.001, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.99, in [0, 1): decay of the squared gradient
        eps = 1e-06, in (0, inf): added after the square root
        weight_decay = 0.01, in [0, inf): decoupled, times the shortened lr

    Learning rate: start at lr = 0.001; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `stableadamw`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.001,
        beta1: float | str = 0.9,
        beta2: float | str = 0.99,
        eps: float | str = 1e-06,
        weight_decay: float | str = 0.01,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...

class Yogi(RecipeOptimizer):
    """Adam whose mean square moves towards the new square by steps of a bounded size.

    Zaheer et al. 2018 (NeurIPS), Algorithm 2; pytorch_optimizer.Yogi.

    Hyperparameters:
        lr = 0.01, in [0, inf): learning rate
        beta1 = 0.9, in [0, 1): decay of the momentum
        beta2 = 0.999, in [0, 1): 1 minus the pace of the mean square
        eps = 0.001, in (0, inf): added after the square root
        weight_decay = 0, in [0, inf): decoupled, times lr

    Learning rate: start at lr = 0.01; on AdamW's scale, a gradient over the root of its mean
    square.

    Made from the recipe `yogi`; `Recipe.build` says what the rest is.
    """
    def __init__(
        self,
        params: ParamsT,
        lr: float | str | Tensor = 0.01,
        beta1: float | str = 0.9,
        beta2: float | str = 0.999,
        eps: float | str = 0.001,
        weight_decay: float | str = 0.0,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **options: Any,
    ) -> None: ...
