"""The gradient noise scale: how large a batch is before noise no longer dominates.

The squared norm of a mean gradient over B samples has the expectation |G|^2 + tr(S)/B, with G the
true gradient and S the covariance of one sample's. From two batch sizes, the first micro-batch and
the whole batch, both follow without bias (McCandlish et al., arXiv 1812.06162, Appendix A.1). The
noise scale is tr(S)/|G|^2, in samples; both are averaged over steps before they are divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def squared_norm(gradients: Iterable[Tensor | None]) -> float:
    """Return the sum of squares over all elements of all gradients that are there."""
    return float(sum(g.double().square().sum() for g in gradients if g is not None))


def signal_and_noise(small: float, large: float, part: int, whole: int) -> dict[str, float]:
    """Return |G|^2 and tr(S) from the squared norms of mean gradients over two batch sizes.

    `part` and `whole` are the sizes, in whatever a sample is. Either may come out negative: one
    step's estimate is noisy, and the mean over steps is what counts.
    """
    signal = (whole * large - part * small) / (whole - part)
    noise = (small - large) / (1 / part - 1 / whole)
    return {"gradient_signal": signal, "gradient_noise": noise}


def noise_scale(steps: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the noise scale over the second half of what was logged, in tokens.

    None where nothing was logged, or the mean signal is not positive.
    """
    found = [line for line in steps if "gradient_noise" in line]
    late = found[len(found) // 2 :]
    signal = sum(line["gradient_signal"] for line in late)
    return sum(line["gradient_noise"] for line in late) / signal if signal > 0 else None
