"""Recipes that nobody has written: drawn from the whole grammar of docs/language.md.

`draw_recipe` makes the text of one recipe from a `random.Random`; the same state of the generator
gives the same text. What is drawn is meant to be legal (divisors stay away from 0, everything
defined is used), to keep its numbers of ordinary size for some fifteen steps, and to use every
section, option and function. A drawn text that `validate` refuses is a matter for the one who
calls: `draw_legal` draws until one is accepted and counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

import optzoo
from optzoo.errors import InputError

FUNCTIONS_OF_TENSORS = ("sqrt", "square", "abs", "sign", "min", "max", "norm")


@dataclass
class Draft:
    """A recipe being drawn: what its expressions may mention so far."""

    random: Random
    recipe: dict[str, Any] = field(default_factory=dict)
    decays: list[str] = field(default_factory=list)
    """Numbers in [0, 1)."""
    weights: list[str] = field(default_factory=list)
    """Numbers from 0 to about 2."""
    positive: list[str] = field(default_factory=list)
    """Numbers well above 0."""
    pure: list[str] = field(default_factory=list)
    """Scalars that are functions of t alone, so that they have a next value."""
    tensors: list[str] = field(default_factory=list)
    """Tensors of this step and of the last."""

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    # ---------------------------------------------------------------- numbers

    def weight(self, depth: int = 2) -> str:
        """Return a number of moderate size."""
        kind = self.random.randrange(7) if depth else self.random.randrange(3)
        if kind == 0 or not self.weights:
            return self.pick("0", "1", "0.5", "0.25", "2", "1.5", "1e-1", ".3")
        if kind <= 2:
            return self.pick(*self.weights)
        a, b = self.weight(depth - 1), self.weight(depth - 1)
        if kind == 3:
            return f"({a} + {b})/2"
        if kind == 4:
            return f"{a} * {b}" if self.chance(0.5) else f"({a} - {b})"
        if kind == 5:
            return self.pick(f"min({a}, {b})", f"max({a}, {b}, 0.1)", f"abs({a} - {b})")
        return f"(1 - {self.decay()})"

    def decay(self) -> str:
        """Return a number in [0, 1)."""
        if self.decays and self.chance(0.75):
            return self.pick(*self.decays)
        return self.pick("0", "0.5", "0.9", "0.75", "0.99")

    def gain(self, decay: str) -> str:
        return self.pick("1", f"1 - {_within(decay)}", f"1 - {_within(decay)}", self.weight())

    # ---------------------------------------------------------------- tensors

    def linear(self, names: list[str] | None = None) -> str:
        """Return a linear mix of tensors."""
        names = names or self.tensors
        terms = []
        for _ in range(self.random.randint(1, 3)):
            name, weight = self.pick(*names), self.weight()
            terms.append(self.pick(name, f"{_within(weight)}*{name}", f"{name}*{_within(weight)}"))
        text = terms[0]
        for term in terms[1:]:
            text += self.pick(" + ", " - ") + term
        return text

    def tensor(self, depth: int = 2) -> str:
        """Return a tensor expression, bounded by about the size of what it is made of."""
        if depth == 0 or self.chance(0.4):
            return self.linear()
        x, a = self.pick(*self.tensors), self.weight()
        y = f"({self.tensor(depth - 1)})"
        return str(
            self.pick(
                f"{x}/(abs({x}) + 1)",
                f"{y}/(abs({y}) + 1)",
                f"abs({x}) + {x}",
                f"{_within(a)}*{x} + 0.25*{x}",
                f"(abs({x}) + 1)/sqrt(abs({x}) + 1)",
                f"{y}/sqrt(square({x}) + 1)",
                f"min(0.5*{x}, sqrt(abs({x})))",
                f"max({x}, {y})",
                f"min({y}, 1, max({x}, -1))",
                f"min(max({x}, -{_within(a)}), {a})",
                f"sign({x})*{y}",
                f"abs({x})*sign({y})",
                f"{x}*{y}/(1 + abs({x}))",
                f"{y}/max(1, norm({x}))",
                f"{x}*norm({y})/(norm({x}) + 1)",
                f"{x}*min(1, norm({x}))",
                f"{x}/(norm({x}/(norm({x}) + 1)) + 1)",
                f"{x}/(norm({x}*(norm({y}) + 1)) + norm({x}*norm({y}) + 1) + 1)",
                f"{y} - (1 + 0*{x})",
                f"square({x})/(1 + {x}*{x})",
                f"-{y}",
                f"2/(1 + square({x}))",
                f"{x} - {y}/2",
            )
        )


def _within(text: str) -> str:
    return text if text.replace(".", "").replace("_", "").isalnum() else f"({text})"


def draw_recipe(random: Random, draft_class: type[Draft] = Draft) -> str:
    """Return the YAML text of a drawn recipe."""
    draft = draft_class(random)
    draft.recipe |= {"name": "drawn", "version": 1, "summary": "drawn", "reference": "none"}
    _draw_hyperparameters(draft)
    _draw_scalars(draft)
    _draw_tensors(draft)
    _draw_update(draft)
    _draw_decay_and_averaging(draft)
    _drop_unused(draft.recipe)
    order = list(draft.recipe)
    if random.random() < 0.2:  # sections may stand in any order
        random.shuffle(order)
    return yaml.safe_dump({key: draft.recipe[key] for key in order}, sort_keys=False, width=1000)


def _drop_unused(recipe: dict[str, Any]) -> None:
    """Remove scalars and signals that nothing else mentions."""
    while True:
        named = [(key, n) for key in ("scalars", "signals") for n in recipe.get(key, {})]
        unused = [(key, name) for key, name in named if not _is_mentioned(recipe, key, name)]
        for key, name in unused:
            del recipe[key][name]
            if not recipe[key]:
                del recipe[key]
        if not unused:
            return


def _is_mentioned(recipe: dict[str, Any], key: str, name: str) -> bool:
    rest = {**recipe, key: {other: v for other, v in recipe[key].items() if other != name}}
    return re.search(rf"\b{name}\b", str(rest)) is not None


def _draw_hyperparameters(d: Draft) -> None:
    hypers: dict[str, Any] = {}
    d.recipe["hyperparameters"] = hypers

    def add(name: str, interval: str, default: Any) -> None:
        hypers[name] = {"default": default, "in": interval, "doc": "drawn"}

    if d.chance(0.8):
        add("lr", "[0, inf)", d.pick(0.1, 0.05, 1, 0.3))
    for i in range(1, d.random.randint(1, 3) + 1):
        name, value = f"beta{i}", d.pick(0, 0.5, 0.9, 0.9, 0.97)
        if d.chance(0.1):
            value = d.pick("min(0.9, t/5)", "1 - 1/(t + 1)", "0.5 + 0.3*min(1, t/T)")
        add(name, "[0, 1)", value)
        d.decays.append(name)
    for i in range(d.random.randint(0, 3)):
        name, value = ("alpha", "gamma", "kappa")[i], d.pick(0, 0, 1, 0.5, 2)
        if d.chance(0.1):
            value = d.pick("1/t", "min(1, t/3)", "beta1/2")
        add(name, "[0, inf)", value)
        d.weights.append(name)
    if d.chance(0.4):
        add("delta", "(0, inf)", d.pick(1, 0.5, 0.25))
        d.positive.append("delta")
        d.weights.append("delta")


def _draw_scalars(d: Draft) -> None:
    scalars: dict[str, Any] = {}
    count = d.random.choice((0, 1, 2, 3, 5))
    for i in range(1, count + 1):
        name, decay, weight = f"s{i}", d.decay(), d.weight()
        over = d.pick("4", "T", "7")
        kind = d.random.randrange(17)
        if kind == 0:
            scalars[name] = f"1/(1 - {_within(d.pick('0.9', '0.5', *d.decays))}**t)"
        elif kind == 1:
            decays = {"start": decay, "end": d.decay(), "over": over}
            scalars[name] = {"schedule": "half_life", **decays}
        elif kind == 2:
            ends = {"start": d.weight(0), "end": weight, "over": over}
            scalars[name] = {"schedule": d.pick("linear", "cosine"), **ends}
        elif kind == 3:
            scalars[name] = {"schedule": "power", "exponent": d.pick("-0.5", "-1", "0")}
        elif kind == 4:
            scalars[name] = {"schedule": "inverse_time", "k": d.pick("1", "3", "0.5")}
        elif kind == 5:
            k = d.pick("1", "2", "3.5")
            scalars[name] = {"schedule": "one_minus_inverse_time", "k": k}
        elif kind == 6:
            scalars[name] = {"schedule": "constant", "value": weight}
        elif kind == 7:
            scalars[name] = {"max": weight, **({"start": 0.5} if d.chance(0.3) else {})}
        elif kind == 8:
            scalars[name] = {"product": decay, **({"start": 0.5} if d.chance(0.3) else {})}
        elif kind == 9:
            scalars[name] = {"expr": f"0.5*{name}.prev + {_within(weight)}/2", "start": 0.25}
        elif kind == 10:
            scalars[name] = f"min(1, t/{d.pick('3', 'T', '5')})"
        elif kind == 11:
            scalars[name] = f"positive(t - {d.pick('2', '5')})*{_within(weight)}"
        elif kind == 12:
            scalars[name] = d.pick(f"ratio({weight}, 1 + abs({d.weight()}))", "ratio(lr, lr0)")
        elif kind == 13:
            scalars[name] = d.pick(
                "exp(-t/5)", "log(1 + t)/2", "cospi(t/4)", "1/sqrt(t)", "(t - 1)**0.25"
            )
        elif kind == 14:
            scalars[name] = f"half_life({decay}, {d.decay()}, min(1, t/5))"
        elif kind == 15:
            scalars[name] = {"sum": f"{_within(weight)}**2"}
            scalars[f"{name}_share"] = f"ratio({_within(weight)}**2, {name})"
        else:
            scalars[name] = f"lr/(1 + {weight})" if d.chance(0.5) else f"{weight} + 1/t"
        if kind in (1, 10) and d.chance(0.3):
            d.weights.append(f"{name}.next")
        if kind in (1, 14) or kind == 8:
            d.decays.append(name)
        else:
            d.weights.append(f"{name}_share" if kind == 15 else name)
            if d.chance(0.25):
                d.weights.append(f"{name}.prev" if kind != 15 else f"{name}_share.prev")
    if scalars:
        d.recipe["scalars"] = scalars


def _draw_tensors(d: Draft) -> None:
    """Draw signals, buffers and the preconditioner."""
    d.tensors = ["grad", "grad", "grad"]
    if d.chance(0.3):
        d.tensors.append("grad.prev")
        if d.chance(0.3):
            d.recipe["grad_prev_init"] = "grad"
    if d.chance(0.25):
        d.tensors.append("param")
    order = d.pick("momentum_first", "momentum_first", "precondition_first")
    kind = d.pick("none", "sign", "rms", "rms", "rms")
    signals: dict[str, Any] = {}
    buffers: dict[str, Any] = {}
    names = [f"m{i}" for i in range(1, d.random.choice((0, 1, 1, 2, 3)) + 1)]
    for i in range(d.random.choice((0, 0, 1, 2))):
        signals[f"u{i}"] = d.tensor()
        if d.chance(0.3):
            clips = {"clip_norm": d.pick("1", "0.5", "2")} if d.chance(0.6) else {}
            if d.chance(0.5) or not clips:
                clips["clip_value"] = d.pick("1", "0.25", *d.positive)
            signals[f"u{i}"] = {"input": signals[f"u{i}"], **clips}
        d.tensors += [f"u{i}"] * 2
        if d.chance(0.15):
            d.tensors.append(f"u{i}.prev")
    if kind != "none" and order == "precondition_first":
        d.recipe["preconditioner"] = _preconditioner(d, kind, order)
        d.tensors += ["preconditioned"] * 3
    elif kind != "none":
        d.recipe["preconditioner"] = _preconditioner(d, kind, order)
    old = [f"{name}.prev" for name in names]
    for name in names:
        if d.chance(0.15):  # a delayed copy
            source = d.pick("grad.prev", *(o for o in old if o != f"{name}.prev"), *d.tensors)
            buffers[name] = {"input": source, "decay": 0, "gain": 1}
        else:
            decay = d.decay()
            linear = d.linear([*d.tensors, *old]) if d.chance(0.3) else d.linear()
            fed = linear if d.chance(0.8) else d.tensor(1)
            buffers[name] = {"input": fed, "decay": decay, "gain": d.gain(decay)}
        if d.chance(0.25):
            buffers[name]["init"] = d.pick("zeros", 0.5, "grad", "param")
        d.tensors.append(name)
    d.tensors += old
    if signals:
        d.recipe["signals"] = signals
    if buffers:
        d.recipe["buffers"] = buffers
    if order != "momentum_first" or d.chance(0.5):
        d.recipe["order"] = order


def _preconditioner(d: Draft, kind: str, order: str) -> Any:
    result: dict[str, Any] = {}
    if kind == "sign":
        if d.chance(0.5):
            return "sign"
        result["sign"] = True
    else:
        decay = d.decay()
        rms: dict[str, Any] = {"decay": decay, "eps": d.pick("1e-8", "0.1", "1e-3", *d.positive)}
        result["rms"] = rms
        if d.chance(0.3):
            rms["of"] = d.linear()
        if d.chance(0.15):
            rms["gain"] = d.pick("1", "0.5")
        if d.chance(0.4):
            rms["eps_place"] = d.pick("after_sqrt", "before_debias", "inside_sqrt", "max")
        if d.chance(0.2):
            rms["read"] = "prev"
        if d.chance(0.3) or rms.get("read") == "prev":
            rms["debias"] = False
        if d.chance(0.2) and rms.get("eps_place") != "before_debias":
            rms["mix"] = d.pick("0.9", "1", "0", *d.decays)
        if d.chance(0.2):
            rms["gate"] = d.pick("0", "1", "0.5", "positive(t - 3)")
        if d.chance(0.2):
            rms["init"] = d.pick(1, 0.25)
        if d.chance(0.2):
            rms["buffer"] = "nu"
        if rms["eps"] in ("1e-8", "1e-3"):  # a first divisor that is not tiny
            rms.setdefault("init", 0.25) if not rms.get("debias", True) else None
    if order == "precondition_first" and d.chance(0.3):
        result["input"] = d.linear()
    if d.chance(0.2):
        result["clip_value"] = d.pick("1", "0.5", "t**0.25")
    return result


def _draw_update(d: Draft) -> None:
    owned = [*d.recipe.get("signals", {}), *d.recipe.get("buffers", {})]
    if "preconditioned" in d.tensors:
        owned.append("preconditioned")
    d.random.shuffle(owned)
    elsewhere = str({**d.recipe, "scalars": None})
    unused = [n for n in owned if d.chance(0.8) or elsewhere.count(n) < 2] or ["grad"]
    if d.chance(0.4):
        mix: Any = {name: d.weight() for name in unused}
        if d.chance(0.5):
            mix["grad"] = d.weight()
        if d.chance(0.15) and "m1" in owned:
            mix["m1.prev"] = d.weight()
    else:
        mix = " + ".join(d.pick(n, f"{_within(d.weight())}*{n}", f"{n}/2") for n in unused)
        if d.chance(0.4):
            mix += d.pick(" + ", " - ") + f"({d.tensor()})"
    update: dict[str, Any] = {"mix": mix}
    if d.chance(0.2):
        update["scale"] = d.pick("lr", "lr*0.5", "0.1", f"lr*{_within(d.weight())}")
    if d.chance(0.15):
        update["clip_norm"] = d.pick("1", "0.5", "2")
    if d.chance(0.15):
        update["clip_value"] = d.pick("1", "0.5")
    is_bare = update.keys() == {"mix"} and isinstance(mix, str) and d.chance(0.5)
    d.recipe["update"] = mix if is_bare else update


def _draw_decay_and_averaging(d: Draft) -> None:
    moving = ["min(0.9, t/6)", "1 - 1/(t + 1)", *(s for s in d.decays if s.startswith("s"))]
    averaged = d.chance(0.45)
    if averaged:
        c = d.pick("1/t", "0.1", "min(1, 1/(0.5*t))", "ratio(1, t)", "1", *d.decays)
        rule: dict[str, Any] = {"weight": c}
        if d.chance(0.75):
            fixed = ["0.9", "0", "1", "0.5", *(h for h in d.decays if h.startswith("beta"))]
            rule["beta"] = d.pick(*(moving if d.chance(0.5) else fixed))
        if d.chance(0.2):
            rule["buffer"] = "gap"
        d.recipe["averaging"] = rule
    if d.chance(0.5):
        kind = d.pick("coupled", "decoupled", "decoupled", "after", "proximal")
        decay: dict[str, Any] = {"amount": d.pick("0.1", "0.5", "0.01", *d.weights), "kind": kind}
        if kind in ("coupled", "decoupled") and averaged and d.chance(0.6):
            decay["at"] = d.pick("param", "base", "average")
        if d.chance(0.25):
            decay["times_lr"] = d.pick(True, False)
        d.recipe["weight_decay"] = decay
    if d.chance(0.3):
        d.recipe["observers"] = {
            name: {"weight": d.pick("1/t", "0.1", "min(1, 1/(0.3*t))", *d.decays)}
            for name in d.pick(("tail",), ("tail:0.3", "ema"))
        }
    if d.chance(0.25):
        points = ["param", *(["average"] if averaged else [])]
        points += [
            f"param {d.pick('+', '-')} {_within(d.weight(1))}*{name}"
            for name in d.recipe.get("buffers", {})
        ]
        chosen = d.pick(*points)
        if ".prev" not in chosen and ".next" not in chosen:
            d.recipe["evaluate"] = chosen


def draw_legal(random: Random) -> tuple[str, int]:
    """Return the text of a recipe that `validate` accepts, and how many were refused before it."""
    refused = 0
    while True:
        text = draw_recipe(random)
        try:
            optzoo.parse_recipe(text)
        except InputError:
            refused += 1
            assert refused < 200
        else:
            return text, refused
