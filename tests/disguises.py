"""Recipes in disguise: shipped ones renamed, rescaled, reparametrised, split, merged, reordered.

All is drawn from a seed. What is left of a recipe is its method: `disguise` returns YAML that moves
exactly as the recipe does at hyperparameters drawn for it, at any learning rate.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

import optzoo
from optzoo.program.expressions import Call, Expr, Name, format_expression, names_in, substitute
from optzoo.program.intervals import parse_interval
from optzoo.program.parsing import parse_expression

Rewrite = Callable[[Expr], Expr]
SCALAR_WORDS = {"schedule", "expr", "sum", "product", "max", "start"}
SYLLABLES = ["ka", "lo", "mi", "ru", "te", "vo", "zi", "nu", "pa", "xe"]


@dataclass
class Disguise:
    """A recipe under way: its data, and the names given so far."""

    data: dict[str, Any]
    rng: random.Random
    taken: set[str] = field(default_factory=set)

    def name(self) -> str:
        """Return a name that says nothing."""
        while True:
            text = "".join(self.rng.choice(SYLLABLES) for _ in range(3)) + "_"
            if text not in self.taken:
                self.taken.add(text)
                return text

    # ------------------------------------------------------------ every expression

    def rewrite(self, change: Rewrite) -> None:
        """Apply a change to every expression of the recipe."""
        data = self.data
        for section in ("scalars", "signals", "buffers", "preconditioner", "weight_decay",
                        "averaging", "observers", "evaluate", "hyperparameters"):  # fmt: skip
            if section in data:
                data[section] = self._section(data[section], change, section)
        update = data["update"]
        if isinstance(update, dict) and not isinstance(update["mix"], dict):
            data["update"] = {k: self._text(v, change) for k, v in update.items()}
        elif isinstance(update, dict):
            mix = {key: self._text(w, change) for key, w in update["mix"].items()}
            update = {k: v if k == "mix" else self._text(v, change) for k, v in update.items()}
            renamed: dict[str, Any] = {}
            for key, weight in mix.items():
                new, factor = _split(change(parse_expression(key)))
                if factor is not None:
                    weight = format_expression(parse_expression(f"({weight})*({factor})"))
                renamed[new] = weight
            data["update"] = {**update, "mix": renamed}
        else:
            data["update"] = self._text(update, change)

    def _section(self, value: Any, change: Rewrite, key: str) -> Any:
        if key in ("schedule", "kind", "init", "eps_place", "read", "buffer", "debias", "at",
                   "times_lr", "in", "doc", "sign"):  # fmt: skip
            return value
        if isinstance(value, dict):
            return {k: self._section(v, change, str(k)) for k, v in value.items()}
        return self._text(value, change)

    @staticmethod
    def _text(value: Any, change: Rewrite) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return value
        if value in ("none", "sign", "average", "param") and value != "param":
            return value
        return format_expression(change(parse_expression(value)))


def _split(expr: Expr) -> tuple[str, str | None]:
    """Return a name and what it is divided by, as 1/that."""
    if isinstance(expr, Call) and expr.op == "div" and isinstance(expr.args[0], Name):
        return str(expr.args[0]), f"1/({format_expression(expr.args[1])})"
    return format_expression(expr), None


def _replacing(names: Mapping[str, Callable[[Name], Expr]]) -> Rewrite:
    return lambda expr: substitute(expr, lambda n: names[n.id](n) if n.id in names else None)


# ---------------------------------------------------------------- the disguises


def draw_values(disguise: Disguise, recipe: optzoo.Recipe) -> None:
    """Give some hyperparameters other values, none at 0 or 1."""
    for name, knob in recipe.hyperparameters.items():
        entry = disguise.data["hyperparameters"].get(name)
        if entry is None or not isinstance(knob.default, float) or disguise.rng.random() < 0.4:
            continue
        unit = disguise.rng.randint(60, 95) / 100
        if 0.5 <= knob.default < 1 and knob.interval.high == 1:
            value = round(1 - (1 - knob.default) * unit, 9)
        elif knob.default not in (0, 1):
            value = float(f"{knob.default * unit:.3g}")
        else:
            continue
        if value in knob.interval:
            entry["default"] = value


def rescale_buffers(disguise: Disguise) -> None:
    """m -> c m: what goes in is multiplied, what is read divided."""
    for name, buffer in disguise.data.get("buffers", {}).items():
        inputs = [parse_expression(buffer[k]) for k in ("input", "decay", "gain") if k in buffer]
        own = any(n.id == name for expr in inputs for n in names_in(expr))
        if own or buffer.get("init", "zeros") != "zeros" or "gain" not in buffer:
            continue
        if not isinstance(buffer, dict) or disguise.rng.random() < 0.3:
            continue
        factor = disguise.rng.choice(["3", "0.5", "20", "0.125"])
        size = parse_expression(factor)
        disguise.rewrite(_replacing({name: lambda n, s=size: Call("div", (n, s))}))
        entry = disguise.data["buffers"][name]
        entry["gain"] = f"({entry['gain']})*{factor}"


def reparametrise(disguise: Disguise) -> None:
    """beta -> 1 - a, 1 - 1/n or exp(-1/tau); other numbers in other units."""
    for name, entry in list(disguise.data["hyperparameters"].items()):
        default = entry["default"]
        if name == "lr" or isinstance(default, str) or disguise.rng.random() < 0.3:
            continue
        number = float(default)
        high = parse_interval(str(entry["in"])).high
        if high == 1 and 0 < number < 1:
            low = parse_interval(str(entry["in"]))
            kind = disguise.rng.choice(["one_minus", "one_minus", "steps", "time"])
            if low.low != 0 or kind == "one_minus":
                top, bottom = ("(" if low.high_open else "["), (")" if low.low_open else "]")
                entry["in"] = f"{top}0, {1 - low.low:g}{bottom}"
                entry["default"] = round(1 - number, 10)
                text = f"1 - {name}"
            elif kind == "steps":
                entry["in"] = "[1, inf)"
                entry["default"] = max(2, round(1 / (1 - number)))
                text = f"1 - 1/{name}"
            else:
                entry["in"] = "(0, 1e6]"
                entry["default"] = max(2, round(1 / (1 - number)))
                text = f"exp(-1/{name})"
        elif high == float("inf") and number > 0:
            factor = disguise.rng.choice(["2", "0.1"])
            interval = parse_interval(str(entry["in"]))
            if interval.low != 0:
                continue
            entry["default"] = float(f"{number / float(factor):.12g}")
            text = f"{factor}*{name}"
        else:
            continue
        new = parse_expression(text)
        held = dict(entry)
        disguise.rewrite(_replacing({name: lambda n, e=new: e}))
        disguise.data["hyperparameters"][name] = held


def split_lines(disguise: Disguise) -> None:
    """Gains and decays of buffers become scalars of their own."""
    for buffer in disguise.data.get("buffers", {}).values():
        for key in ("gain", "decay"):
            expr = parse_expression(buffer.get(key, 0))
            if isinstance(expr, Call) and disguise.rng.random() < 0.6:
                name = disguise.name()
                disguise.data.setdefault("scalars", {})[name] = buffer[key]
                buffer[key] = name


def merge_lines(disguise: Disguise) -> None:
    """A plain scalar is put in where it is read."""
    for name in list(disguise.data.get("scalars", {})):
        value = disguise.data["scalars"][name]
        if not isinstance(value, str) or disguise.rng.random() < 0.5:
            continue
        expr = parse_expression(value)
        used: list[Name] = list(names_in(expr))
        disguise.rewrite(
            lambda e, u=used, m=name: [u.extend(n for n in names_in(e) if n.id == m), e][1]
        )
        if any(n.when != "now" for n in used):
            continue
        del disguise.data["scalars"][name]
        disguise.rewrite(_replacing({name: lambda n, e=expr: e}))
    if not disguise.data.get("scalars", True):
        del disguise.data["scalars"]


def rename(disguise: Disguise) -> None:
    """Every name but lr, and those of the language, says nothing."""
    data = disguise.data
    names = {}
    for section in ("hyperparameters", "scalars", "signals", "buffers"):
        for old in list(data.get(section, {})):
            if old != "lr":
                names[old] = old if old.endswith("_") and old in disguise.taken else disguise.name()
    for section in ("hyperparameters", "scalars", "signals", "buffers"):
        if section in data:
            items = [(names.get(old, old), entry) for old, entry in data[section].items()]
            disguise.rng.shuffle(items)
            data[section] = dict(items)
    disguise.rewrite(
        _replacing({o: lambda n, new=new: Name(new, n.when) for o, new in names.items()})
    )


def disguise(name: str, seed: int) -> str:
    """Return a shipped recipe in disguise, as YAML."""
    recipe = optzoo.load_recipe(name)
    work = Disguise(copy.deepcopy(yaml.safe_load(recipe.text)), random.Random(f"{name} {seed}"))
    work.data["hyperparameters"] = {
        n: dict(h) for n, h in work.data.get("hyperparameters", {}).items()
    }
    draw_values(work, recipe)
    rescale_buffers(work)
    reparametrise(work)
    split_lines(work)
    merge_lines(work)
    rename(work)
    work.data |= {"name": "mine", "summary": "mine", "reference": "none"}
    for key in ("notes", "family", "training"):
        work.data.pop(key, None)
    return yaml.safe_dump(work.data, sort_keys=False, width=200)
