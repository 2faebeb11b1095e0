"""A recipe run straight from its YAML, as docs/language.md reads: no program, no lowering, no b.

The slow and obvious way. Names are looked up when they are asked for, in this step or the last;
averaging keeps its three points z, x and y; expressions are walked in Python's own syntax tree on
numpy float64 arrays. It shares nothing with optzoo but the language, and serves as its second
definition in the tests.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

Array = npt.NDArray[np.float64]
Value = float | Array
NOISE = 1e-15


def _half_life(a: float, b: float, x: float) -> float:
    """Return the decay whose half-life lies the fraction x of the way from a's to b's."""

    def life(decay: float) -> float:
        return 0.0 if decay == 0 else math.log(0.5) / math.log(decay)

    if x <= 0 or x >= 1:
        return a if x <= 0 else b
    steps = (1 - x) * life(a) + x * life(b)
    return 0.0 if steps == 0 else 0.5 ** (1 / steps)


def _clip(x: Array, norm: float | None, value: float | None) -> Array:
    if norm is not None:
        length = math.sqrt(float(np.sum(x * x)))
        if length > norm:
            x = x * (norm / length)
    return x if value is None else np.clip(x, -value, value)


FUNCTIONS: dict[str, Any] = {
    "sqrt": np.sqrt,
    "square": lambda a: a * a,
    "abs": np.abs,
    "sign": np.sign,
    "norm": lambda a: math.sqrt(float(np.sum(np.asarray(a) * a))),
    "exp": math.exp,
    "log": math.log,
    "cospi": lambda a: math.cos(math.pi * a),
    "ratio": lambda a, b: a / b if b != 0 else 0.0,
    "positive": lambda a: float(a > 0),
    "half_life": _half_life,
}
OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


class Simulation:
    """One parameter tensor trained by a recipe. `lr` of each step is given with the gradient.

    With `noise`, every operation of an expression is off by a part in 10**15, at random: what comes
    out then tells how much rounding matters.
    """

    def __init__(
        self,
        recipe: str | Mapping[str, Any],
        param: Array,
        *,
        total_steps: int,
        lr0: float | None = None,
        values: Mapping[str, Any] | None = None,
        noise: np.random.Generator | None = None,
    ) -> None:
        self.noise = noise
        self.recipe: Mapping[str, Any] = (
            yaml.safe_load(recipe) if isinstance(recipe, str) else recipe
        )
        hypers = self.recipe["hyperparameters"]
        self.knobs = {name: knob["default"] for name, knob in hypers.items()} | dict(values or {})
        self.lr0 = float(self.knobs.get("lr", 1) if lr0 is None else lr0)
        self.lr = self.lr0
        self.total_steps = total_steps
        self.t = 0
        self.z = self.x = self.y = np.array(param, dtype=np.float64)
        self.watched = dict.fromkeys(self.recipe.get("observers", {}), self.y)
        self.old: dict[str, Value] = {}
        self.now: dict[str, Value] = {}
        pre = self.recipe.get("preconditioner", "none")
        self.pre: Mapping[str, Any] = (
            {"sign": True} if pre == "sign" else {} if pre == "none" else pre
        )
        self.rms: Mapping[str, Any] | None = self.pre.get("rms")
        self.nu = self.rms.get("buffer", "v") if self.rms else ""
        rule = self.recipe.get("averaging")
        self.gap = rule.get("buffer", "b") if rule else ""

    # ---------------------------------------------------------------- expressions

    def value(self, text: Any, shift: int = 0) -> Any:
        """Return what an expression stands for in this step; `shift` 1 is the next one."""
        return self._walk(ast.parse(str(text).strip(), mode="eval").body, shift)

    def _walk(self, node: ast.expr, shift: int) -> Any:
        match node:
            case ast.Constant():
                return float(node.value)
            case ast.Name():
                return self.name(node.id, shift)
            case ast.Attribute(value=ast.Name(id=name), attr="prev"):
                return self.previous(name)
            case ast.Attribute(value=ast.Name(id=name), attr="next"):
                return self.name(name, 1)
            case ast.UnaryOp():
                return -self._walk(node.operand, shift)
            case ast.BinOp():
                left, right = self._walk(node.left, shift), self._walk(node.right, shift)
                result = OPERATORS[type(node.op)](left, right)
                return result if self.noise is None else self._off(result)
            case ast.Call(func=ast.Name(id=name)):
                args = [self._walk(arg, shift) for arg in node.args]
                if name in ("min", "max"):
                    smallest = np.minimum if name == "min" else np.maximum
                    result = args[0]
                    for arg in args[1:]:
                        result = smallest(result, arg)
                    return result
                return FUNCTIONS[name](*args)
        raise AssertionError(ast.dump(node))

    def _off(self, value: Value) -> Value:
        assert self.noise is not None
        return value * (1 + NOISE * self.noise.choice((-1.0, 1.0), size=np.shape(value)))

    def name(self, name: str, shift: int = 0) -> Any:
        """Return the value of a name once this step has given it one."""
        fixed = {"t": self.t + shift, "T": self.total_steps, "lr": self.lr, "lr0": self.lr0}
        if name in fixed:
            return float(fixed[name])
        if name == "param":
            return self.y
        if shift:
            spec = {**self.knobs, **self.recipe.get("scalars", {})}[name]
            return self.value(_spelled_out(spec), shift)
        if name not in self.now:
            self.now[name] = self._compute(name)
        return self.now[name]

    def previous(self, name: str) -> Any:
        """Return the value of a name at the end of the last step."""
        if name == "param":
            return self.y
        if name in self.old:
            return self.old[name]
        scalar = self.recipe.get("scalars", {}).get(name)
        if name in (*self.knobs, "lr", *self.recipe.get("scalars", {})):
            start = scalar.get("start") if isinstance(scalar, dict) else None
            if start is None or "schedule" in scalar:
                start = 1 if isinstance(scalar, dict) and "product" in scalar else 0
            return float(self.value(start))
        if name in self.recipe.get("buffers", {}):
            return self._first(self.recipe["buffers"][name].get("init", "zeros"))
        if name == self.nu:
            assert self.rms is not None
            return self._first(self.rms.get("init", 0))
        if name == "grad" and self.recipe.get("grad_prev_init") == "grad":
            return self.raw
        return np.zeros_like(self.y)

    def _first(self, init: Any) -> Array:
        if init == "grad":
            return self.raw
        if init == "param":
            return self.y
        return np.full_like(self.y, 0.0 if init == "zeros" else float(init))

    def _compute(self, name: str) -> Value:
        recipe = self.recipe
        if name == "grad":
            return self._gradient()
        if name in self.knobs:
            return float(self.value(self.knobs[name]))
        if name in recipe.get("scalars", {}):
            return self._scalar(name, recipe["scalars"][name])
        if name in recipe.get("signals", {}):
            signal = recipe["signals"][name]
            if not isinstance(signal, dict):
                return self._tensor(signal)
            clips = [self._optional(signal, key) for key in ("clip_norm", "clip_value")]
            return _clip(self._tensor(signal["input"]), *clips)
        if name in recipe.get("buffers", {}):
            buffer = recipe["buffers"][name]
            decay, gain = self.value(buffer["decay"]), self.value(buffer["gain"])
            return decay * self.previous(name) + gain * self._tensor(buffer["input"])
        if name == "preconditioned":
            return self._precondition(self._tensor(self.pre.get("input", "grad")))
        if name == self.nu:
            assert self.rms is not None
            decay = self.value(self.rms["decay"])
            gain = self.value(self.rms["gain"]) if "gain" in self.rms else 1 - decay
            return decay * self.previous(name) + gain * self._squared()
        raise AssertionError(name)

    def _tensor(self, text: Any) -> Array:
        return np.broadcast_to(self.value(text), self.y.shape).astype(np.float64)

    def _optional(self, section: Mapping[str, Any], key: str) -> float | None:
        return self.value(section[key]) if section.get(key) is not None else None

    def _scalar(self, name: str, spec: Any) -> float:
        if isinstance(spec, dict):
            old = self.previous(name)
            if "sum" in spec:
                return float(old + self.value(spec["sum"]))
            if "product" in spec:
                return float(old * self.value(spec["product"]))
            if "max" in spec:
                return float(max(old, self.value(spec["max"])))
        return float(self.value(_spelled_out(spec)))

    # ---------------------------------------------------------------- sections

    def _gradient(self) -> Array:
        decay = self.recipe.get("weight_decay")
        if decay is None or decay["kind"] != "coupled":
            return self.raw
        return self.raw + self.value(decay["amount"]) * self._decayed_point(decay)

    def _decayed_point(self, decay: Mapping[str, Any]) -> Array:
        return {"param": self.y, "base": self.z, "average": self.x}[decay.get("at", "param")]

    def _squared(self) -> Array:
        assert self.rms is not None
        of = self._tensor(self.rms.get("of") if self.rms.get("of") is not None else "grad")
        return of * of

    def _precondition(self, x: Array) -> Array:
        if self.rms is None:
            result = np.sign(x)
        else:
            with np.errstate(all="ignore"):
                result = x / self._divisor(self.rms)
            if "gate" in self.rms:
                gate = self.value(self.rms["gate"])
                result = gate * result + (1 - gate) * x
        return _clip(result, None, self._optional(self.pre, "clip_value"))

    def _divisor(self, rms: Mapping[str, Any]) -> Array:
        read = self.previous if rms.get("read", "new") == "prev" else self.name
        mean, eps = read(self.nu), self.value(rms["eps"])
        place = rms.get("eps_place", "after_sqrt")
        mass = self._mass(rms) if rms.get("debias", True) else 1.0
        if place == "before_debias":
            return (np.sqrt(mean) + eps) / math.sqrt(mass)
        mean = mean / mass
        if "mix" in rms:
            mix = self.value(rms["mix"])
            mean = mix * mean + (1 - mix) * self._squared()
        if place == "inside_sqrt":
            return np.sqrt(mean + eps)
        return np.maximum(np.sqrt(mean), eps) if place == "max" else np.sqrt(mean) + eps

    def _mass(self, rms: Mapping[str, Any]) -> float:
        """Return what v would hold had every square been 1, and v started at 0."""
        decay = self.value(rms["decay"])
        gain = self.value(rms["gain"]) if "gain" in rms else 1 - decay
        self.now["(mass)"] = decay * self.old.get("(mass)", 0.0) + gain
        return float(self.now["(mass)"])

    def step(self, grad: Array, lr: float | None = None) -> None:
        """Take one step with the gradient at the training point."""
        self.begin(grad, lr)
        self.finish()

    def begin(self, grad: Array, lr: float | None = None) -> None:
        """Take in what a step is given; nothing is computed yet."""
        self.t += 1
        self.lr = self.lr0 if lr is None else lr
        self.raw = np.asarray(grad, dtype=np.float64)
        self.now = {}

    def finish(self) -> None:
        """Compute a step that has begun, and move."""
        before = self.y
        step = self._decayed_step(self._direction())
        self._finish_names()
        z = self.point_after(step)
        rule = self.recipe.get("averaging")
        if rule is None:
            x = y = z
        else:
            c = self.value(rule["weight"])
            beta = self.value(rule["beta"]) if "beta" in rule else 0.0
            x = (1 - c) * self.x + c * z
            y = (1 - beta) * z + beta * x
            self.now[self.gap] = self.x - z
        for name, observer in self.recipe.get("observers", {}).items():
            c = self.value(observer["weight"])
            self.watched[name] = (1 - c) * self.watched[name] + c * y
        self.z, self.x, self.y = z, x, y
        self.old = {**self.now, "lr": self.lr}
        assert before.shape == y.shape

    def point_after(self, step: Array) -> Array:
        """Return where a step leads."""
        return self.z - step

    def _finish_names(self) -> None:
        """Give every name its value of this step, also those the step did not need."""
        for section in ("scalars", "signals", "buffers"):
            for name in self.recipe.get(section, {}):
                self.name(name)
        for name in self.knobs:
            if name != "lr":
                self.name(name)
        self.name("grad")
        if self.rms is not None:
            self.name(self.nu)
        if self.pre and self.recipe.get("order") == "precondition_first":
            self.name("preconditioned")

    def _direction(self) -> Array:
        """Return the update, scaled."""
        update = self.recipe["update"]
        spec = update if isinstance(update, dict) else {"mix": update}
        scale = self.value(spec["scale"]) if "scale" in spec else self.lr
        return scale * self._mixed(update, preconditions="direction" not in self.recipe)

    def _mixed(self, given: Any, *, preconditions: bool = True) -> Array:
        """Return a mix as it is preconditioned and clipped."""
        spec = given if isinstance(given, dict) else {"mix": given}
        mix = spec["mix"]
        if isinstance(mix, dict):
            parts = [self.value(w) * self._tensor(name) for name, w in mix.items()]
            parts = [part if self.noise is None else self._off(part) for part in parts]
            direction = sum(parts[1:], parts[0])
        else:
            direction = self._tensor(mix)
        is_last = self.recipe.get("order", "momentum_first") == "momentum_first"
        if self.pre and is_last and preconditions:
            direction = self._precondition(direction)
        return _clip(direction, *(self._optional(spec, key) for key in ("clip_norm", "clip_value")))

    def _decayed_step(self, step: Array) -> Array:
        decay = self.recipe.get("weight_decay")
        if decay is None or decay["kind"] == "coupled":
            return step
        rate = self.value(decay["amount"]) * (self.lr if decay.get("times_lr", True) else 1.0)
        if decay["kind"] == "after":  # param - step, times 1 - rate
            return self.y - (self.y - step) * (1 - rate)
        if decay["kind"] == "proximal":
            return self.y - (self.y - step) / (1 + rate)
        return step + rate * self._decayed_point(decay)

    def view(self, name: str) -> Array:
        """Return the point that is trained, evaluated or observed, at the end of a step."""
        if name == "train":
            return self.y
        if name in self.watched:
            return self.watched[name]
        point = self.recipe.get("evaluate", "average" if "averaging" in self.recipe else "param")
        return self.x if point == "average" else self._tensor(point)


def _spelled_out(spec: Any) -> Any:
    """Return a named schedule as the expression that docs/language.md gives for it."""
    if not isinstance(spec, dict):
        return spec
    if "expr" in spec:
        return spec["expr"]
    kind, at = spec["schedule"], f"min(1, t/({spec.get('over')}))"
    start, end = f"({spec.get('start')})", f"({spec.get('end')})"
    return {
        "constant": f"{spec.get('value')}",
        "linear": f"{start} + ({end} - {start})*{at}",
        "half_life": f"half_life({start}, {end}, {at})",
        "cosine": f"{end} + ({start} - {end})*(1 + cospi({at}))/2",
        "power": f"t**({spec.get('exponent')})",
        "inverse_time": f"({spec.get('k')})/(({spec.get('k')}) + t)",
        "one_minus_inverse_time": f"max(0, 1 - ({spec.get('k')})/t)",
    }[kind]
