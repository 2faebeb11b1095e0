"""Peak arithmetic of accelerators, and what share of it a run uses.

    MFU = tokens/s * FLOPs per token / peak FLOP/s

FLOPs per token are the model's, not the hardware's: nothing that is computed twice counts twice.
The peak is dense bfloat16 with float32 accumulation, as the maker's data sheet has it; sheets that
print it with sparsity are halved.
"""

from __future__ import annotations

from dataclasses import dataclass

from optzoo.errors import Diagnostic, InputError, did_you_mean


@dataclass(frozen=True)
class Accelerator:
    """One device: its dense bfloat16 peak, who says so, and words that its name contains."""

    name: str
    teraflops: float
    source: str
    words: tuple[str, ...]

    @property
    def peak(self) -> float:
        """FLOP/s."""
        return self.teraflops * 1e12


ACCELERATORS = {
    a.name: a
    for a in (
        Accelerator("h100-pcie", 756.5, "NVIDIA H100 data sheet, PCIe", ("h100", "pcie")),
        Accelerator("h100-nvl", 835.5, "NVIDIA H100 NVL data sheet", ("h100", "nvl")),
        Accelerator("h100", 989.4, "NVIDIA H100 data sheet, SXM", ("h100",)),
        Accelerator("h200", 989.4, "NVIDIA H200 data sheet, SXM", ("h200",)),
        Accelerator("b200", 2250.0, "NVIDIA HGX B200 data sheet", ("b200",)),
        Accelerator("a100", 312.0, "NVIDIA A100 data sheet", ("a100",)),
        Accelerator("l40s", 362.0, "NVIDIA L40S data sheet", ("l40s",)),
        Accelerator("l4", 121.0, "NVIDIA L4 data sheet", ("l4",)),
        Accelerator("a10", 125.0, "NVIDIA A10 data sheet", ("a10",)),
        Accelerator("rtx5090", 209.5, "NVIDIA RTX Blackwell whitepaper", ("rtx", "5090")),
        Accelerator("rtx4090", 165.2, "NVIDIA Ada whitepaper", ("rtx", "4090")),
        Accelerator("rtx3090", 71.0, "NVIDIA GA102 whitepaper", ("rtx", "3090")),
        Accelerator("mi300x", 1307.4, "AMD Instinct MI300X data sheet", ("mi300x",)),
        Accelerator("mi250x", 383.0, "AMD Instinct MI250X data sheet", ("mi250x",)),
    )
}
SHOWN = ("h100", "h200", "b200", "a100", "l40s", "rtx4090")
"""What a plan shows when nobody asks for one."""


def find_accelerator(name: str) -> Accelerator:
    """Return a device by its name in the table. Raises InputError for an unknown one."""
    if name.lower() not in ACCELERATORS:
        hint = did_you_mean(name.lower(), ACCELERATORS, what="known hardware")
        raise InputError(Diagnostic("unknown-name", f"`{name}` is not a known device", hint=hint))
    return ACCELERATORS[name.lower()]


def recognise(device_name: str) -> Accelerator | None:
    """Return the device that a driver's name stands for, such as `NVIDIA H100 80GB HBM3`."""
    words = device_name.lower().replace("-", " ").split()
    fits = [a for a in ACCELERATORS.values() if all(word in words for word in a.words)]
    return max(fits, key=lambda a: len(a.words), default=None)


def flops_utilisation(tokens_per_second: float, flops_per_token: float, peak: float) -> float:
    """Return MFU, between 0 and 1."""
    return tokens_per_second * flops_per_token / peak
