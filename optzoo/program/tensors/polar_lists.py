"""Named lists of Newton-Schulz coefficients for `polar`, each with its guard and safety factor.

`polar(x)` divides x by `safety` times its norm plus `eps`, and each step (a, b, c) then maps every
singular value s to a*s + b*s**3 + c*s**5. A list only makes sense with its own guard and safety: a
list with another's is wrong by some percent, so they stand together under one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Step = tuple[str, str, str]


@dataclass(frozen=True)
class PolarList:
    """Coefficients of the steps, as decimals; `safety` and `eps` of the norm; where they stand."""

    steps: tuple[Step, ...]
    safety: str
    eps: str
    source: str

    @property
    def numbers(self) -> tuple[Fraction, ...]:
        """The coefficients, one after another."""
        return tuple(Fraction(number) for step in self.steps for number in step)


POLAR_LISTS: dict[str, PolarList] = {
    "jordan": PolarList(
        (("3.4445", "-4.775", "2.0315"),) * 5,
        "1",
        "1e-7",
        "Keller Jordan, Muon (KellerJordan/Muon, muon.py); torch.optim.Muon; Moonlight",
    ),
    "quintic": PolarList(
        (
            ("4.0848", "-6.8946", "2.927"),
            ("3.9505", "-6.3029", "2.6377"),
            ("3.7418", "-5.5913", "2.3037"),
            ("2.8769", "-3.1427", "1.2046"),
            ("2.8366", "-3.0525", "1.2012"),
        ),
        "1",
        "1e-7",
        "microsoft/dion; NVIDIA-NeMo/Emerging-Optimizers, muon_utils.py",
    ),
    "polar_express": PolarList(
        (
            ("8.156554524902461", "-22.48329292557795", "15.878769915207462"),
            ("4.042929935166739", "-2.808917465908714", "0.5000178451051316"),
            ("3.8916678022926607", "-2.772484153217685", "0.5060648178503393"),
            ("3.285753657755655", "-2.3681294933425376", "0.46449024233003106"),
            ("2.3465413258596377", "-1.7097828382687081", "0.42323551169305323"),
        ),
        "1.02",
        "1e-6",
        "Polar Express (arXiv 2505.16932) in 5 steps with safety 1.02: KellerJordan/modded-nanogpt "
        "train_gpt.py; microsoft/dion polar_express.py",
    ),
}

_BY_NUMBERS = {each.numbers: name for name, each in POLAR_LISTS.items()}


def list_named(numbers: tuple[Fraction, ...]) -> str | None:
    """Return the name of the list with these coefficients, or None."""
    return _BY_NUMBERS.get(numbers)
