"""Drawn recipes of version 2: what a step may ask of rows, columns, whole matrices and the model.

`MatrixDraft` draws what `draw.Draft` does and, beside it, expressions in everything that version 2
adds, each of given sides: numbers, rows, columns, square matrices and whole ones. What a buffer is
called tells its sides (`SIDES`).
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

import yaml
from draw import Draft, _within, draw_recipe

import optzoo
from optzoo.errors import InputError

SIDES = {
    "number": ("1", "1"),
    "row": ("rows", "1"),
    "column": ("1", "cols"),
    "gram": ("rows", "rows"),
    "cogram": ("cols", "cols"),
    "basis": ("rows", "rows"),
    "turned": ("cols", "rows"),
    "held": ("rows", "cols"),
}
"""What drawn buffers are called, and the sides that they have."""
LISTS = ("jordan", "quintic", "polar_express", "[[3, -4, 2], [1.5, -0.5, 0]]")


class MatrixDraft(Draft):
    """A recipe of version 2 being drawn."""

    def weight(self, depth: int = 2) -> str:
        """Return a number of moderate size; some are chosen by conditions on numbers."""
        if depth == 0 or self.chance(0.75):
            return super().weight(depth)
        a, b = super().weight(depth - 1), super().weight(depth - 1)
        late = self.pick("t > 2", "mod(t, 3) == 1", "t < 4", "t == 2")
        return str(
            self.pick(
                f"tanh({a})",
                f"atan2({a}, 1 + {_within(b)})",
                f"mod(t, {self.pick('2', '3', '1.5')})/2",
                f"({self.decay()} > 0.7)",
                f"({self.decay()} < 0.6)",
                f"({late})*{_within(a)}",
                f"where({late}, {a}, {b})",
                "where(t == 1, 0.5, 1/(t - 1))",
                f"where(t > 2, sqrt(t - 3), {a})",
                f"where(t > 1, log(t - 1), {a})",
            )
        )

    # ---------------------------------------------------------------- tensors by their sides

    def two(self) -> tuple[str, str]:
        """Return two tensors like the parameter."""
        return self.pick(*self.tensors), self.pick(*self.tensors)

    def number(self) -> str:
        """Return one number of a tensor, of moderate size."""
        x, z = self.two()
        return str(
            self.pick(
                f"sum({x})/(abs(sum({x})) + size)",
                f"mean({x})",
                f"largest({x})/(1 + abs(largest({x})) + abs(smallest({z})))",
                f"smallest({x})/(1 + abs(smallest({x})))",
                f"dot({x}, {z})/(1 + abs(dot({x}, {z})))",
                f"norm({x})/(1 + norm({z}))",
                "sqrt(rows/cols)",
                "max(rows, cols)/(rows + cols)",
                "1/sqrt(size)",
                "log(size)/3",
                f"mean({self.row(0)})",
                f"largest(abs({self.column(0)}))",
            )
        )

    def row(self, depth: int = 1) -> str:
        """Return a number for each row."""
        x, z = self.two()
        if depth == 0:
            return str(self.pick(f"mean({x}, row)", f"largest({x}, row)"))
        r, g = self.row(depth - 1), self.gram(depth - 1)
        return str(
            self.pick(
                f"mean({x}, row)",
                f"norm({x}, row)/(1 + norm({x}))",
                f"sum({x}, row)/cols",
                f"smallest({x}, row)",
                f"dot({x}, {z}, row)/(1 + norm({x})*norm({z}))",
                f"diagonal({x} @ {x}.T)/(1 + sum(square({x})))",
                f"mean({x}, block({self.pick(1, 2, 3, 4)}))",
                f"norm({x}, block({self.pick(1, 2, 3)}))",
                f"smallest({x}, block(2))",
                f"largest({x}, block(where(t > 2, 2, 1)))",
                f"sum({x}, block(2))/size",
                f"dot({x}, {z}, block(2))/(1 + abs(dot({x}, {z})))",
                f"(({g}) @ {r})/rows",
                f"take({r}, order({r}), row)",
                f"order({r})/rows",
                f"where({r} > 0, {r}, mean({z}, row))",
                f"tanh({r})",
                f"mean({x}.T, column).T",
                f"{r}*{_within(self.weight(1))}",
            )
        )

    def column(self, depth: int = 1) -> str:
        """Return a number for each column."""
        x, z = self.two()
        if depth == 0:
            return str(self.pick(f"mean({x}, column)", f"smallest({x}, column)"))
        c, g = self.column(depth - 1), self.cogram(depth - 1)
        return str(
            self.pick(
                f"mean({x}, column)",
                f"norm({x}, column)/(1 + norm({x}))",
                f"sum({x}, column)/rows",
                f"largest({x}, column)",
                f"dot({x}, {z}, column)/(1 + norm({x})*norm({z}))",
                f"diagonal({x}.T @ {x}).T/(1 + sum(square({x})))",
                f"({c} @ ({g}))/cols",
                f"take({c}, order({c}.T), column)",
                f"max({c}, mean({x}))",
                f"mean({x}.T, row).T",
                f"mean({self.row(0)}*{x}, column)",
            )
        )

    def gram(self, depth: int = 1) -> str:
        """Return a matrix of rows x rows."""
        x, z = self.two()
        return self._square(depth, x, f"{z}.T", self.row(0), f"{x} @ {x}.T", self.gram)

    def cogram(self, depth: int = 1) -> str:
        """Return a matrix of cols x cols."""
        x, z = self.two()
        return self._square(depth, f"{z}.T", x, f"mean({z}, column).T", f"{x}.T @ {x}", self.cogram)

    def _square(self, depth: int, x: str, z: str, column: str, own: str, again: Any) -> str:
        """Return a square matrix; `column` has a number for each row of it, `own` is symmetric."""
        plain = f"({x} @ {z})/(1 + norm({x})*norm({z}))"
        if depth == 0:
            return plain
        g, small = again(depth - 1), f"({own})/(1 + trace)".replace("trace", f"norm({own})")
        apart = f"{small} + identity({own})*order({column})"
        return str(
            self.pick(
                plain,
                f"identity({own})",
                f"({g}).T",
                f"{column}*({g})",
                f"({g}) @ ({g})",
                f"power({small} + 0.5*identity({own}), {self.pick('-1/4', '-1/2', '0.5', '2')})",
                f"orthonormal({g} + 2*identity({own}))",
                f"eigenbasis({apart})",
                f"eigenbasis({small})",
                f"polar({g} + identity({own}), {self.pick(*LISTS)}, 1e-2)",
                f"where(t == 1, identity({own}), {g})",
            )
        )

    def tensor(self, depth: int = 2) -> str:
        if depth == 0 or self.chance(0.3):
            return super().tensor(depth)
        (x, z), a = self.two(), _within(self.weight())
        y = f"({self.tensor(depth - 1)})"
        return str(
            self.pick(
                f"{y}/(1 + abs({self.row()}))",
                f"{y}*({self.row()})",
                f"{x} - ({self.row()})",
                f"{x} + {self.column()}",
                f"{y}*({self.column()})",
                f"({self.row(0)})*({self.column(0)})",
                f"{y}*({self.number()})",
                f"{y} - {self.number()}",
                f"({self.gram()}) @ {y}",
                f"{y} @ ({self.cogram()})",
                f"(({x}.T @ {z}).T @ {y}.T).T/(1 + norm({x})*norm({z}))",
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
                f"where({x} > 0, sqrt({x}), {self.number()})",
                f"where(t < {self.pick('2', '4')}, {x}, {y})",
                f"where({a} > 0.5, {x}, {self.row(0)})",
                f"where(norm({x}) > 1, {y}, {self.column(0)})",
                f"where(rows > cols, {y}, {x})",
                f"where(mod(t, 3) == 1, {x}, {y})",
                f"where(t > 1, {y}/(t - 1), {x})",
                f"where(t == 1, {y}, polar({x}, quintic, 1e-2))",
                f"{y}*sum(where(t < 3, 1, {x}))/size",
                f"polar({x}, {self.pick(*LISTS)}, 1e-2)",
                f"polar({y}, {self.pick(*LISTS[:3])})",
                f"polar({x}, {LISTS[3]}, 1e-2, 1.5)",
                f"polar({x}, jordan, 1e-2, block(2))",
                f"orthonormal({x})",
                f"take({y}, order({self.row(0)}), row)",
                f"take({y}, order(({self.column(0)}).T), column)",
            )
        )

    # ---------------------------------------------------------------- sections

    def further_buffers(self, buffers: dict[str, Any], signals: dict[str, Any]) -> None:
        """Add buffers of other sides, refreshments and starts, and signals that read them."""
        for i in range(self.random.choice((0, 1, 1, 2))):
            kind = self.pick(*SIDES)
            name = f"{kind}{i}"
            decay, y = self.decay(), f"({self.tensor(1)})"
            fed, init, use = self._kept(kind, name, y)
            buffer: dict[str, Any] = {"input": fed, "decay": decay, "gain": self.gain(decay)}
            if self.chance(0.4) or kind == "basis":
                buffer["init"] = init
            if self.chance(0.2):
                buffer["first"] = self.pick(fed, *(["norm(grad)"] if kind == "held" else []))
            if self.chance(0.35) or (kind in ("held", "basis") and self.chance(0.5)):
                refresh: dict[str, Any] = {"every": self.pick("2", "3", "1 + 1", "0", "every")}
                if self.chance(0.5):
                    refresh["offset"] = self.pick("0", "1", "2")
                refresh["input"] = f"{fed} + 0.5*{name}.prev"
                if kind == "basis":
                    refresh["input"] = fed
                if self.chance(0.3):
                    buffer = {key: value for key, value in buffer.items() if key in STARTS}
                buffer["refresh"] = refresh
            buffers[name], signals[f"u_{name}"] = buffer, use

    def _kept(self, kind: str, name: str, y: str) -> tuple[str, Any, str]:
        """Return what a buffer of some sides is fed with, may start as, and how it is read."""
        x, _ = self.two()
        number = self.pick(0.5, "0.25 + beta1", "norm(param)/(1 + norm(param))")
        identity = self.pick("identity", "0.5*identity", "beta1*identity")
        match kind:
            case "number":
                return self.number(), number, f"{y}/(1 + abs({name}))"
            case "row":
                return self.row(), self.pick(number, "mean(param, row)"), f"{y}/(1 + abs({name}))"
            case "column":
                return self.column(), number, f"{y} + {name}"
            case "gram":
                return self.gram(), identity, f"({name} @ {y})/(1 + norm({name}))"
            case "cogram":
                return self.cogram(), identity, f"({y} @ {name}.T)/(1 + norm({name}))"
            case "basis":
                step = f"({x} @ {x}.T)/(1 + sum(square({x}))) @ {name}.prev + 0.1*{name}.prev"
                return f"orthonormal({step})", "identity", f"{name} @ tanh({name}.T @ {y})"
            case "turned":
                return f"{y}.T", 0.25, f"{name}.T - {y}/2"
        start = self.pick("0.5*param", "mean(grad, row)", "lr/2", number)
        moved = x if "averaging" in self.recipe else "moved"
        return self.pick(x, y, moved), start, f"{name}.prev - {y}/2"

    def model_numbers(self) -> tuple[dict[str, Any], str]:
        """Return numbers of the whole model, and a number made of them."""
        x, z = self.two()
        found = str(
            self.pick(
                f"sqrt(sum(square({x}), model))",
                f"ratio(sum(abs({x}), model), sum(size, model))",
                f"dot({x}, {z}, model)",
                f"sum(mean(square({x}), row), model)",
                f"sum(norm({x}), model)",
                f"sum({x}/(1 + sqrt(sum(square({z}), model))), model)",
            )
        )
        kind = self.pick("plain", "max", "sum", "expr")
        start: dict[str, Any] = {"start": self.pick(0.5, "beta1/2")} if self.chance(0.5) else {}
        total: Any = found if kind == "plain" else {kind: found, **start}
        if kind == "expr":
            total = {"expr": f"0.5*total.prev + ({found})/(1 + t)", **start}
        numbers = {"total": total, "share": "total/(1 + abs(total))"}
        return numbers, self.pick("share", "(1 - share)", "share.prev")


STARTS = ("init", "first")


def draw_matrix_recipe(random: Random) -> str:
    """Return the YAML text of a drawn recipe of version 2."""
    recipe = yaml.safe_load(draw_recipe(random, MatrixDraft))
    recipe["version"] = 2
    draft = MatrixDraft(random, recipe)
    draft.decays = [n for n in recipe["hyperparameters"] if n.startswith("beta")]
    draft.tensors = ["grad", "grad", "param", *recipe.get("buffers", {})]
    _draw_starts(draft, recipe.get("scalars", {}))
    used: dict[str, Any] = recipe.setdefault("signals", {})
    draft.further_buffers(recipe.setdefault("buffers", {}), used)
    if "every" in str(recipe["buffers"]).replace("'every':", ""):
        knob = {"default": draft.pick(2, 3, 0), "in": "[0, inf)", "doc": "steps between two"}
        recipe["hyperparameters"]["every"] = knob
    terms = {name: "0.5" for name in used if name.startswith("u_")}
    if draft.chance(0.2):
        recipe["model"], number = draft.model_numbers()
        used["pooled"], terms["pooled"] = f"{number}*grad", "1"
    _draw_polar(draft, recipe)
    update = recipe["update"]
    mix = update["mix"] if isinstance(update, dict) else update
    for name, weight in terms.items():
        mix = {**mix, name: weight} if isinstance(mix, dict) else f"{mix} + {weight}*{name}"
    recipe["update"] = {**update, "mix": mix} if isinstance(update, dict) else mix
    _draw_filter(draft, recipe)
    _draw_point(draft, recipe)
    recipe = {key: value for key, value in recipe.items() if value != {}}
    return yaml.safe_dump(recipe, sort_keys=False, width=1000)


def _draw_starts(draft: MatrixDraft, scalars: dict[str, Any]) -> None:
    """Let some scalars with memory start at an expression."""
    for spec in scalars.values():
        if isinstance(spec, dict) and "schedule" not in spec and draft.chance(0.4):
            spec["start"] = draft.pick("0.5*beta1", "min(0.5, 1/T)")


def _draw_polar(draft: MatrixDraft, recipe: dict[str, Any]) -> None:
    """Orthogonalise what is mixed, or the gradient."""
    if "preconditioner" in recipe or not draft.chance(0.3):
        return
    steps = draft.pick("jordan", "quintic", "polar_express", [[3, -4, 2], [1.5, -0.5, 0]])
    polar: dict[str, Any] = {"coefficients": steps}
    if draft.chance(0.7):
        polar["eps"] = draft.pick("1e-2", "0.1")
    if draft.chance(0.5):
        polar["scale"] = draft.pick("sqrt(max(1, rows/cols))", "lr", "0.2*sqrt(max(rows, cols))")
    recipe["preconditioner"] = {"polar": polar}
    if draft.chance(0.2):
        recipe["preconditioner"]["clip_value"] = "0.5"
    recipe["order"] = draft.pick("momentum_first", "precondition_first")
    if recipe["order"] == "precondition_first":
        held = {"input": "preconditioned", "decay": "0.5", "gain": "1"}
        recipe["buffers"]["filtered"] = held
        mix = recipe["update"]
        if isinstance(mix, dict):
            key = mix["mix"]
            mix["mix"] = {**key, "filtered": "1"} if isinstance(key, dict) else f"{key} + filtered"
        else:
            recipe["update"] = f"{mix} + filtered"


def _draw_filter(draft: MatrixDraft, recipe: dict[str, Any]) -> None:
    """Let the update filter the direction."""
    if not draft.chance(0.25):
        return
    update = recipe["update"]
    scale = update.pop("scale", None) if isinstance(update, dict) else None
    recipe["direction"] = update
    filtered = draft.pick(
        "direction*(direction*grad > 0)",
        "direction/(1 + norm(direction, row))",
        "direction*norm(param)/(norm(direction) + 0.1)",
        "direction - mean(direction, column)",
    )
    recipe["update"] = filtered if scale is None else {"mix": filtered, "scale": scale}
    if draft.chance(0.2):
        recipe["update"] = {"mix": filtered, "clip_norm": "0.5"}


def _draw_point(draft: MatrixDraft, recipe: dict[str, Any]) -> None:
    """Let something stand in the place of the point after the step."""
    if "averaging" in recipe or not draft.chance(0.2):
        return
    other = draft.pick("0.5*moved + 0.5*param", "moved*(1/(1 + norm(moved)/(1 + size)))")
    every = draft.pick("2", "3")
    refreshed = {"input": "moved", "refresh": {"every": every, "input": other}}
    recipe["point"] = draft.pick(other, refreshed)


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
        if not _counts(yaml.safe_load(text)):
            return text, refused


def _counts(recipe: Any) -> bool:
    """Whether a buffer that is drawn as a matrix is made of itself and numbers: one number."""
    tensors = {"grad", "param", "direction", "moved", *recipe.get("signals", {})}
    tensors |= recipe.get("buffers", {}).keys()
    for name, buffer in recipe.get("buffers", {}).items():
        text = " ".join(map(str, (buffer.get("input", "grad"), buffer.get("first", ""))))
        read = tensors & set(re.findall(r"\w+", f"{text} {buffer.get('refresh', '')}"))
        if not read - {name} and buffer.get("init") not in ("grad", "param"):
            return True
    return False
