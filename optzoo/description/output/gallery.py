"""The gallery: a small picture of every shipped recipe's impulse response, and the page of them.

The impulse response is the weight of one gradient in its own step and in those after it. Pictures
are SVG written by hand: a figure of matplotlib would be fifty times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optzoo.description.description import Description
from optzoo.description.folding import CannotFoldError
from optzoo.description.output.page import cell
from optzoo.description.weights import Array, impulse_response
from optzoo.files.drawing import COLOURS

GRADIENT = 1000
"""The step whose gradient is followed: late enough for debiasing to be over."""
REACH = 2000
"""How many steps it is followed for."""
FLOOR = 1e-4
"""The smallest weight shown, as a share of the largest."""

WIDTH, HEIGHT = 240, 120
LEFT, RIGHT, TOP, BOTTOM = 34, 232, 8, 98

INTRODUCTION = (
    f"What one gradient does: its weight in its own step, at 1, and in the {REACH:,} steps"
    f" after it, as a share of the largest of them, for the gradient of step {GRADIENT:,} at"
    " the default hyperparameters. Both axes are logarithmic; dashes are negative weights."
    " What a step divides by, masks or takes the sign of is held fixed, as in"
    " [describe](../../describe.md). A curve that turns down once is one momentum; a shelf"
    " after a drop is a second, slower one, or one beside the gradient itself; a lone dot is a"
    " gradient that counts in its own step only. Percentages are of all these weights"
    " together."
)


class Picture:
    """The impulse response of one rule of a recipe; `file` is empty where there is none to draw."""

    def __init__(self, description: Description) -> None:
        recipe = description.recipe
        self.weights = _response(description)
        self.caption = _caption(description, self.weights)
        rule = f"-{recipe.label}" if recipe.is_routed else ""
        self.of_rule = f", {recipe.label}" if recipe.is_routed else ""
        self.file = "" if self.weights is None else f"{recipe.name}{rule}.svg"

    def svg(self) -> str:
        """Return the picture."""
        assert self.weights is not None
        return _svg(self.weights, self.caption)


def _response(description: Description) -> Array | None:
    """Return the weights over the largest; None where there is no linear response to speak of."""
    if not description.decision.linear:
        return None
    if description.order == 0:  # whatever the gradient weighs, it does so in its own step
        return np.eye(1, REACH + 1)[0]
    if description.formulas is None:
        return None
    try:
        weights = impulse_response(description.derivation, GRADIENT, REACH)
    except CannotFoldError:
        return None
    largest = float(abs(weights).max())
    return weights / largest if largest else None


def _caption(description: Description, weights: Array | None) -> str:
    if not description.decision.linear:
        return "no linear response: the step is not linear in the gradients"
    if description.order == 0:
        return "no momentum; counts in its own step only"
    count = f"{description.order} moment{'um' if description.order == 1 else 'a'}"
    if weights is None:
        return f"{count}; not drawn: no formula of its weights at every step"
    own, together = float(weights[0]), float(weights.sum())
    if abs(together) < FLOOR:
        return f"{count}; the weights cancel"
    return f"{count}; {100 * own / together:.2g}% in its own step"


def _svg(weights: Array, caption: str) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="9" fill="#777">',
        f"<title>{caption}</title>",
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#999"/>',
    ]
    for power in range(0, round(math.log10(FLOOR)) - 1, -2):
        y = _y(10.0**power)
        lines.append(f'<text x="{LEFT - 4}" y="{y + 3}" text-anchor="end">{10.0**power:g}</text>')
    for age in (1, 10, 100, 1000):
        lines.append(
            f'<text x="{_x(age - 1)}" y="{HEIGHT - 10}" text-anchor="middle">{age:,}</text>'
        )
    for sign, dashes in ((1, ""), (-1, ' stroke-dasharray="4 3"')):
        path = _path(sign * weights)
        if path:
            lines.append(
                f'<path d="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="2" '
                f'stroke-linecap="round"{dashes}/>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(lag: int) -> int:
    return round(LEFT + (RIGHT - LEFT) * math.log(lag + 1) / math.log(REACH + 1))


def _y(share: float) -> int:
    return round(TOP + (BOTTOM - TOP) * math.log(share) / math.log(FLOOR))


def _path(weights: Array) -> str:
    """Return the parts of a curve that are above the floor; a lone point is a dot."""
    columns = {_x(lag): lag for lag in range(REACH, -1, -1)}  # the first lag at each pixel
    parts, is_down = list[str](), False
    for x, lag in sorted(columns.items()):
        share = float(weights[lag])
        if share < FLOOR:
            is_down = False
            continue
        parts.append(f"{'L' if is_down else 'M'}{x} {_y(share)}")
        if not is_down:
            parts.append("h0")
        is_down = True
    return "".join(parts)


def format_gallery(pages: Sequence[Sequence[Description]]) -> tuple[str, dict[str, str]]:
    """Return the page of all recipes, by family, and the pictures by file name."""
    families: dict[str, list[str]] = {}
    pictures: dict[str, str] = {}
    for rules in pages:
        found = [Picture(description) for description in rules]
        pictures |= {each.file: each.svg() for each in found if each.file}
        spec = rules[0].recipe.spec
        rows = families.setdefault(spec.family or "other", [])
        for each in found:
            image = f"![{each.caption}]({each.file})" if each.file else ""
            name = f"[{spec.name}](../{spec.name}.md){each.of_rule}"
            rows.append(f"| {image} | {name}<br>{cell(spec.summary)} | {each.caption} |")
    parts = [
        "# Gallery",
        "Written by `optzoo describe --all DIR`; do not edit by hand.",
        INTRODUCTION,
    ]
    for family, rows in sorted(families.items()):
        heading = ["| impulse response | recipe | |", "|---|---|---|"]
        parts += [f"## {cell(family)}", "\n".join([*heading, *rows])]
    return "\n\n".join(parts) + "\n", pictures
