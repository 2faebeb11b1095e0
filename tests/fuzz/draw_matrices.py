"""Drawn recipes of version 2: what a step may ask of rows, columns and whole matrices.

`MatrixDraft` draws what `draw.Draft` does and, beside it, expressions in everything that version 2
adds. Buffers called `row...` have a number for each row, `column...` for each column, and
`gram...` a matrix of rows x rows.
"""

from __future__ import annotations

from random import Random
from typing import Any

import yaml
from draw import Draft, _within, draw_recipe

import optzoo
from optzoo.errors import InputError


class MatrixDraft(Draft):
    """A recipe of version 2 being drawn."""

    def tensor(self, depth: int = 2) -> str:
        if depth == 0 or self.chance(0.4):
            return super().tensor(depth)
        x, z, a = self.pick(*self.tensors), self.pick(*self.tensors), _within(self.weight())
        y = f"({self.tensor(depth - 1)})"
        side = self.pick("row", "column", "block(2)", "block(3)")
        reduced = f"{self.pick('mean', 'norm', 'largest')}(abs({x}), {side})"
        return str(
            self.pick(
                f"{y}/({reduced} + 1)",
                f"{y}/({reduced} + 0.5)",
                f"{x} - mean({x}, {self.pick('row', 'column')})",
                f"{y}*sum({x})/(abs(sum({x})) + size)",
                f"{y}/(1 + sum(abs({x}), {side})/size)",
                f"{y}*smallest({x}, {side})/(1 + abs(smallest({x}, {side})))",
                f"{y}*largest({x})/(1 + abs(largest({x})) + abs(smallest({z})))",
                f"{y} - mean({x})",
                f"{y}*tanh({x})",
                f"atan2({x}, abs({y}) + 0.5)",
                f"atan2({x}, {a})",
                f"exp(min({x}, 1))/3",
                f"log(1 + abs({x}))",
                f"(1 + abs({x}))**(1/3)",
                f"{y}*(abs({x}) + 0.5)**(-{a}/2)",
                f"abs({x})**1.5/(1 + abs({x}))",
                f"ratio({y}, abs({x}) + mean(abs({x})))",
                f"ratio(min({x}, 1), max({x}, 0))",
                f"positive({x})*{y}",
                f"({x} > {z})*{y}",
                f"where({x} < {z}, {y}, {z})",
                f"where({x} > {a}, {y}, 0.5*{y})",
                f"where({x} == 0, 1, {y})",
                f"where(t < {self.pick('2', '4')}, {x}, {y})",
                f"where({a} > 0.5, {x}, {y})",
                f"where(mod(t, 3) == 1, {x}, {y})",
                f"where(t == 1, {y}, polar({x}, quintic, 1e-2))",
                f"({x} @ ({x}.T @ {y}))/(1 + sum(square({x})))",
                f"(({z} @ {x}.T) @ {y})/(1 + norm({x})*norm({z}))",
                f"(({x}.T @ {z}).T @ {y}.T).T/(1 + norm({x})*norm({z}))",
                f"{y}/(1 + abs(diagonal({x} @ {x}.T)))",
                f"{y}/(1 + abs(diagonal({x}.T @ {x})).T)",
                f"{y}*dot({x}, {z})/(1 + abs(dot({x}, {z})))",
                f"polar({x}, {self.pick('jordan', 'quintic', 'polar_express')}, 1e-2)",
                f"{y}*sqrt(rows/cols)",
                f"{y}*max(rows, cols)/(rows + cols)",
                f"{y}/sqrt(size)",
                f"take({y}, order(mean({x}, row)), row)",
                f"take({y}, order(mean({x}, column).T), column)",
            )
        )

    def further_buffers(self, buffers: dict[str, Any], signals: dict[str, Any]) -> None:
        """Add buffers of other sides, refreshments and starts, and signals that read them."""
        for i in range(self.random.choice((0, 0, 1, 2))):
            x, y, decay = self.pick(*self.tensors), self.pick(*self.tensors), self.decay()
            kind = self.pick("row", "column", "gram", "held")
            name = f"{kind}{i}"
            fed = {"decay": decay, "gain": self.gain(decay)}
            if kind in ("row", "column"):
                fed["input"] = f"{self.pick('mean', 'sum', 'largest')}(square({x}), {kind})"
                use = self.pick(f"{y}/(sqrt({name}) + 1)", f"{y} + {name}/(1 + {name})")
                if self.chance(0.3):
                    fed["init"] = self.pick(0.5, "0.25 + beta1")
                if self.chance(0.2):
                    fed["first"] = fed["input"]
            elif kind == "gram":
                fed["input"] = f"({x} @ {x}.T)/(1 + sum(square({x})))"
                use = self.pick(f"({name} @ {y})/2", f"({name} @ {y})/(1 + norm({name}))")
                if self.chance(0.5):
                    fed["init"] = self.pick("identity", "0.5*identity")
            else:
                fed["input"] = x
                use = f"{name} - {y}/2"
            if self.chance(0.3) or (kind == "held" and self.chance(0.6)):
                refresh: dict[str, Any] = {
                    "every": self.pick("2", "3", "1 + 1"),
                    "input": "0.5*fed",
                }
                if self.chance(0.5):
                    refresh["offset"] = self.pick("0", "1", "2")
                refresh["input"] = f"{fed['input']} + 0.5*{name}.prev"
                if self.chance(0.3):
                    fed = {key: value for key, value in fed.items() if key == "init"}
                fed["refresh"] = refresh
            buffers[name], signals[f"u_{name}"] = fed, use


def draw_matrix_recipe(random: Random) -> str:
    """Return the YAML text of a drawn recipe of version 2."""
    recipe = yaml.safe_load(draw_recipe(random, MatrixDraft))
    recipe["version"] = 2
    draft = MatrixDraft(random)
    draft.decays = [n for n in recipe["hyperparameters"] if n.startswith("beta")]
    draft.tensors = ["grad", "grad", "param", *recipe.get("buffers", {})]
    draft.further_buffers(
        recipe.setdefault("buffers", {}), used := recipe.setdefault("signals", {})
    )
    if random.random() < 0.15 and "preconditioner" not in recipe:
        steps = draft.pick("jordan", "quintic", [[3, -4, 2], [1.5, -0.5, 0]])
        recipe["preconditioner"] = {"polar": {"coefficients": steps, "eps": "1e-2"}}
        if draft.chance(0.5):
            recipe["preconditioner"]["polar"]["scale"] = draft.pick("sqrt(max(1, rows/cols))", "lr")
    update = recipe["update"]
    mix = update["mix"] if isinstance(update, dict) else update
    for name in [name for name in used if name.startswith("u_")]:
        mix = {**mix, name: 0.5} if isinstance(mix, dict) else f"{mix} + {name}/2"
    recipe["update"] = {**update, "mix": mix} if isinstance(update, dict) else mix
    recipe = {key: value for key, value in recipe.items() if value != {}}
    return yaml.safe_dump(recipe, sort_keys=False, width=1000)


def draw_legal_matrices(random: Random) -> tuple[str, list[str]]:
    """Return a drawn text that the language takes, and the messages of those it refused."""
    refused = []
    while True:
        text = draw_matrix_recipe(random)
        try:
            optzoo.parse_recipe(text)
        except InputError as error:
            refused.append(str(error))
            continue
        return text, refused
