"""Rewriting a recipe in the form of Eq. (1): one momentum sum of gradients, fewer buffers.

The momentum that a recipe's step remembers becomes one buffer of gain 1; the preconditioner, the
decay and plain averaging stay as they are. Schedule-Free's averaging becomes a momentum and a
readout of it. Whoever writes the result compares it with what was given first.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from optzoo.equivalence.momentum import (
    ConversionError,
    RecipeMomentum,
    folded,
    never_moves,
    read_momentum,
)
from optzoo.errors import InputError
from optzoo.interpreters.terms import ONE_TERM, Terms, terms_of
from optzoo.program.expressions import (
    ONE,
    Expr,
    Name,
    add,
    constant_value,
    format_expression,
    mul,
    names_in,
    substitute,
)
from optzoo.program.ratios import TooLongError
from optzoo.recipe.names import mix_name, mix_of, uses_of
from optzoo.recipe.recipe import Recipe, parse_recipe
from optzoo.recipe.schema import RecipeSpec
from optzoo.recipe.sections import PreconditionerSpec, SignalSpec, UpdateSpec


def to_accelerated(recipe: Recipe, *, drop_clips: bool = False) -> Recipe:
    """Return a recipe of the form of Eq. (1) that moves as `recipe` does.

    `drop_clips` leaves clips out of the signals first: then it does so while no clip acts. Raises
    ConversionError with the reason where there is no such form, or none is known.
    """
    if drop_clips:
        recipe = without_clips(recipe)
    try:
        return _rewritten(recipe)
    except TooLongError:
        raise ConversionError(recipe, "its coefficients are too long to be written out") from None


def _rewritten(recipe: Recipe) -> Recipe:
    averages = recipe.spec.averaging is not None and recipe.spec.averaging.beta is not None
    data = _averaged(recipe) if averages and not _is_zero_beta(recipe) else _plain(recipe)
    _keep_state_dtypes(data, recipe)
    data["name"] = f"{recipe.name}_accelerated"
    data.pop("title", None)  # it spells the other name
    data["summary"] = f"{recipe.name} with one momentum, in the form of Eq. (1)"
    data["notes"] = [
        f"Made by: optzoo convert {recipe.name} --to accelerated",
        *data.pop("extra_notes", []),
    ]
    try:
        return parse_recipe(_yaml(_ordered(data)), f"{data['name']}.yaml")
    except InputError as error:
        why = error.diagnostics[0].message
        raise ConversionError(recipe, f"what would be written is no legal recipe: {why}") from None


def _is_zero_beta(recipe: Recipe) -> bool:
    beta = recipe.spec.averaging.beta if recipe.spec.averaging else None
    return beta is not None and terms_of(folded(recipe, beta)).is_zero


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Rewrite a recipe whose step reads one momentum."""
    data = _base(recipe)
    if _is_zero_beta(recipe):
        del data["averaging"]["beta"]
    momentum = read_momentum(recipe)
    _check_other_readers(recipe)
    if momentum is None:
        raise ConversionError(
            recipe, "its step reads no past gradient", "it is plain (preconditioned) descent"
        )
    if momentum.decay.is_zero:
        raise ConversionError(recipe, "its momentum does not decay, it only remembers one gradient")
    name = _free_name(data, "m")
    scales = never_moves(recipe, momentum.gain)
    gain = ONE_TERM if scales else momentum.gain
    source = str(momentum.source)
    data["buffers"] = {name: {"input": source, "decay": _text(momentum.decay), "gain": _text(gain)}}
    if not scales:
        data["extra_notes"] = [
            "The gain of the momentum moves, and stands in the buffer: dividing by it would fail "
            "where it is 0. With M the sum of gain 1, beta_a = decay * gain.prev/gain and "
            "eta_a = gain * the weight of m."
        ]
    _set_mix(data, _read(momentum, name, source, momentum.gain if scales else ONE_TERM))
    if "evaluate" in data:
        data["evaluate"] = _evaluate(recipe, momentum, name, momentum.gain if scales else ONE_TERM)
    _drop_unused(data)
    if _is_legal(data):
        return data
    narrowed = _narrowed(data, momentum.decay)
    if _is_legal(narrowed):  # the decay of the shipped recipe may be 0, which this form excludes
        return narrowed
    mix = {f"{name}.prev": momentum.old * (momentum.gain if scales else ONE_TERM)}
    mix[source] = momentum.new  # the decay may be 0 on its way: read the old momentum, as Lion does
    _set_mix(data, {n: _text(w) for n, w in mix.items() if not w.is_zero})
    return data


def _check_other_readers(recipe: Recipe) -> None:
    """Refuse a recipe whose preconditioner reads a buffer: that buffer is not there any more."""
    spec = recipe.spec
    pending = []
    if isinstance(spec.preconditioner, PreconditionerSpec):
        rms = spec.preconditioner.rms
        pending = [spec.preconditioner.input, None if rms is None else rms.of]
    seen: set[str] = set()
    while pending:
        expr = pending.pop()
        for name in () if expr is None else names_in(expr):
            if name.id in spec.buffers:
                raise ConversionError(recipe, f"its preconditioner reads `{name}`")
            if name.id in spec.signals and name.id not in seen:
                seen.add(name.id)
                signal = spec.signals[name.id]
                pending.append(signal.input if isinstance(signal, SignalSpec) else signal)


def _keep_state_dtypes(data: dict[str, Any], recipe: Recipe) -> None:
    """Keep what buffers are stored in: those that stay, and a momentum made of alike ones."""
    dtypes = data.get("state_dtype")
    if not isinstance(dtypes, dict):
        return
    gone = set(recipe.spec.buffers)
    gone |= {recipe.spec.averaging.buffer} if recipe.spec.averaging is not None else set()
    kept = {name: dtype for name, dtype in dtypes.items() if name not in gone}
    before = {recipe.state_dtypes.get(name) for name in gone} - {None}
    if len(before) == 1:
        kept |= dict.fromkeys(data["buffers"], before.pop())
    data["state_dtype"] = kept


def _is_legal(data: dict[str, Any]) -> bool:
    try:
        parse_recipe(_yaml(_ordered({**data, "notes": []})))
    except InputError:
        return False
    return True


def _narrowed(data: dict[str, Any], divisor: Terms) -> dict[str, Any]:
    """Return the recipe with 0 taken out of the intervals of what is divided by."""
    data = copy.deepcopy(data)
    for name in names_in(divisor.expr()):
        spec = data["hyperparameters"].get(name.id)
        if spec is not None and str(spec["in"]).startswith("[0,"):
            spec["in"] = "(0," + str(spec["in"])[3:]
    return data


def _read(momentum: RecipeMomentum, name: str, source: str, held: Terms) -> dict[str, Any]:
    """Return the weights of the new momentum and of the gradient in the step."""
    eta = momentum.old.over(momentum.decay)
    mix = {name: eta * held, source: momentum.new - eta * momentum.gain}
    return {n: _text(w) for n, w in mix.items() if not w.is_zero}


def _evaluate(recipe: Recipe, momentum: RecipeMomentum, name: str, held: Terms) -> str:
    """Return the evaluation point with the old buffer written as `held` times the new one."""
    point = recipe.spec.evaluate
    assert point is not None
    olds = {n.removesuffix(".prev") for n in momentum.states}
    read = {n.id for n in names_in(point)} & set(recipe.spec.buffers)
    if read - olds or (read and len(olds) > 1):
        names = ", ".join(f"`{n}`" for n in sorted(read))
        raise ConversionError(recipe, f"its evaluation point reads {names}")
    new = mul(held.expr(), Name(name))
    return format_expression(substitute(point, lambda n: new if n.id in read else None))


def _averaged(recipe: Recipe) -> dict[str, Any]:
    """Rewrite Schedule-Free's rule: b is the momentum, the average a readout of it."""
    spec = recipe.spec
    rule, decay = spec.averaging, spec.weight_decay
    assert rule is not None
    assert rule.beta is not None
    if spec.buffers:
        raise ConversionError(recipe, "momentum in the step and the averaging make two momenta")
    is_first = spec.order == "precondition_first" or spec.preconditioner == "none"
    if not is_first:
        raise ConversionError(
            recipe,
            "the preconditioner acts on the step that is averaged, not on the gradient",
            "write it with `order: precondition_first`, which is the same without momentum",
        )
    if decay is not None and (decay.at != "param" or decay.kind not in ("coupled", "decoupled")):
        amount = terms_of(folded(recipe, decay.amount))
        if not amount.is_zero:
            raise ConversionError(recipe, "its weight decay does not act at the gradient point")
    if not never_moves(recipe, terms_of(rule.beta)):
        raise ConversionError(recipe, "beta of its averaging moves")
    update = spec.update if isinstance(spec.update, UpdateSpec) else UpdateSpec(mix=spec.update)
    if update.clip_norm is not None or update.clip_value is not None:
        hint = "the form holds while no clip acts: --drop-clips"
        raise ConversionError(recipe, "its step is clipped before it is averaged", hint)
    if read_momentum(recipe) is not None:
        raise ConversionError(recipe, "momentum in the step and the averaging make two momenta")
    data = _base(recipe)
    scale = update.scale if update.scale is not None else Name("lr")
    fed: Expr = mix_of(spec.update)
    if data.get("weight_decay", {}).get("kind") == "decoupled":
        assert decay is not None
        del data["weight_decay"]
        rate = mul(Name("lr"), decay.amount) if decay.times_lr else decay.amount
        if decay.times_lr and scale == Name("lr"):
            fed = add(fed, mul(decay.amount, Name("param")))
        else:  # the decay has a rate of its own: the momentum sums whole steps
            fed, scale = add(mul(scale, fed), mul(rate, Name("param"))), ONE
    weight = rule.weight
    if not (isinstance(weight, Name) and weight.id in spec.scalars and weight.when == "now"):
        weight = Name(_free_name(data, "c"))
        data.setdefault("scalars", {})[weight.id] = format_expression(rule.weight)
    beta = format_expression(rule.beta)
    name = _free_name(data, "m")
    signal = _free_name(data, "d")
    data["signals"] = {**data.get("signals", {}), signal: format_expression(fed)}
    data["buffers"] = {
        name: {"input": signal, "decay": f"1 - {weight.id}.prev", "gain": format_expression(scale)}
    }
    data["update"] = {
        "mix": {
            name: f"({beta})*{weight.id}",
            signal: f"(1 - ({beta}))*({format_expression(scale)})",
        },
        "scale": 1,
    }
    del data["averaging"]
    data["evaluate"] = _averaged_point(recipe, name, f"(1 - ({beta}))*(1 - {weight.id})*{name}")
    data["extra_notes"] = [
        "The learning rate stands in the gain of the momentum, so that it may move and may be 0. "
        "At a constant lr, beta_a = 1 - c.prev, eta_a = lr*beta*c and alpha_a = lr*(1 - beta): "
        "Connections paper, Eq. (5) and (9)."
    ]
    return data


def _averaged_point(recipe: Recipe, name: str, offset: str) -> str:
    """Return the evaluation point of an averaging whose offset buffer is called `name` now."""
    point, rule = recipe.spec.evaluate, recipe.spec.averaging
    if point is None or point == Name("average"):
        return f"param + {offset}"
    assert rule is not None
    return format_expression(
        substitute(point, lambda n: Name(name) if n.id == rule.buffer else None)
    )


def without_clips(recipe: Recipe) -> Recipe:
    """Return the recipe without the clips of its signals, its preconditioner and its update."""
    data = _base(recipe)
    for signal in data.get("signals", {}).values():
        if isinstance(signal, dict):
            signal.pop("clip_norm", None)
            signal.pop("clip_value", None)
    if isinstance(data.get("preconditioner"), dict):
        data["preconditioner"].pop("clip_value", None)
    if isinstance(data["update"], dict):
        data["update"].pop("clip_norm", None)
        data["update"].pop("clip_value", None)
    return parse_recipe(_yaml(data), f"{recipe.name}.yaml")


def _base(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data, without a decay that is 0."""
    data: dict[str, Any] = copy.deepcopy(yaml.safe_load(recipe.to_yaml()))
    decay = recipe.spec.weight_decay
    if decay is not None and terms_of(folded(recipe, decay.amount)).is_zero:
        del data["weight_decay"]
    return data


def _text(value: Terms) -> str | int | float:
    expr = value.expr()
    number = constant_value(expr)
    if number is not None and number.denominator == 1:
        return int(number)
    return format_expression(expr)


def _set_mix(data: dict[str, Any], mix: dict[str, Any]) -> None:
    data.pop("direction", None)  # what the old update has filtered
    update = data["update"]
    data["update"] = {**(update if isinstance(update, dict) else {}), "mix": mix}


def _free_name(data: dict[str, Any], name: str) -> str:
    taken = {n for key in ("hyperparameters", "scalars", "signals") for n in data.get(key, {})}
    rms = data.get("preconditioner")
    if isinstance(rms, dict) and isinstance(rms.get("rms"), dict):
        taken.add(rms["rms"].get("buffer", "v"))
    while name in taken:
        name += "_"
    return name


def _drop_unused(data: dict[str, Any]) -> None:
    """Drop signals, scalars and hyperparameters that nothing reads any more."""
    sections = ("signals", "scalars", "hyperparameters")
    while unread := _unread(data, sections):
        for section, name in unread:
            del data[section][name]
            if not data[section]:
                del data[section]


def _unread(data: dict[str, Any], sections: Sequence[str]) -> list[tuple[str, str]]:
    """Return what nothing but itself reads; nothing where the data are no recipe."""
    try:
        spec = RecipeSpec.model_validate(_ordered(data))
    except ValidationError:  # said when the whole is read as a recipe
        return []
    reads: dict[str, set[tuple[str, ...]]] = {}
    for use in uses_of(spec):
        for name in names_in(use.expr):
            reads.setdefault(name.id, set()).add(tuple(map(str, use.loc[:2])))
    mix = spec.update.mix if isinstance(spec.update, UpdateSpec) else None
    for name in filter(None, map(mix_name, mix if isinstance(mix, dict) else ())):
        reads.setdefault(name.id, set()).add(("update", "mix"))
    return [
        (section, name)
        for section in sections
        for name in data.get(section, {})
        if name != "lr" and not reads.get(name, set()) - {(section, name)}
    ]


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in RecipeSpec.model_fields if key in data}


def _yaml(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)
