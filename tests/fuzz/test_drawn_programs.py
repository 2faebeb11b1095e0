"""Drawn recipes: what `validate` accepts, every engine computes as the language's page says.

300 recipes in every run, OPTZOO_FUZZ=10000 for more. The last tests attack the first: each fault of
an engine that was ever found is put back, and the drawn recipes have to notice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

import pytest
import torch
from beside import SHAPES, TOTAL_STEPS, Outcome, Problem, compare, rates
from draw import draw_legal
from drawn_engines import ENGINES as MORE
from lockstep import largest_excess
from narrow_steps import excess_of_one_step

import optzoo
from optzoo.engines import block_values as foreach_values
from optzoo.engines import blocks as foreach_blocks
from optzoo.engines import engine as engines

COUNT = int(os.environ.get("OPTZOO_FUZZ", "300"))
CHUNK = 50
WORDS = (
    "sqrt square abs sign min max norm exp log cospi ratio positive half_life .prev .next lr0 "
    "linear cosine power inverse_time one_minus_inverse_time constant sum product T rms read "
    "eps_place before_debias inside_sqrt debias mix gate clip_value clip_norm gain of coupled "
    "momentum_first precondition_first decoupled after proximal base average times_lr buffers "
    "averaging observers evaluate grad_prev_init init scale signals buffer"
)
"""Words of the language, all of which have to be drawn."""
AWKWARD = (
    "x i j k row end begin term real kept fabs sqrtf auto short double int lane inside partial "
    "owner start length upper nearest keys first threads slots drawn squared at torch "
    "coefficients numbers norms chunks count param_prev grad_at c1 n1 norm1 sum1_1 key0 random0"
)
"""What drawn names may be exchanged for: words of C, of Python and of the kernels."""
OWN_NAME = re.compile(r"\b[mus]\d+\b")
"""What the drawing calls buffers, signals and scalars."""
CHUNKS = pytest.mark.parametrize("first", range(0, COUNT, CHUNK))


@pytest.fixture(autouse=True)
def _more_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", {**engines.ENGINES, **MORE})


def drawn(seed: int) -> str:
    return draw_legal(Random(seed))[0]


def renamed(text: str, random: Random) -> str:
    """Return a drawn recipe with other names in it."""
    own = sorted(set(OWN_NAME.findall(text)))
    others = dict(zip(own, random.sample(AWKWARD.split(), len(own)), strict=True))
    return OWN_NAME.sub(lambda found: others[found[0]], text)


def faults(tried: Mapping[int, Iterable[str]], **options: Any) -> list[str]:
    """Return what is wrong by seeds and engines, and check that most recipes could tell."""
    found, sensitive = [], 0
    for seed, names in tried.items():
        outcomes: dict[str, Outcome] = {
            name: compare(drawn(seed), seed, name, **options) for name in names
        }
        sensitive += any(outcome.is_sensitive for outcome in outcomes.values())
        for name, outcome in outcomes.items():
            if outcome.excess > 1:
                found.append(f"seed {seed}, {name}: {outcome.where}\n{drawn(seed)}")
    assert sensitive <= max(1, len(tried) // 20)
    return found


@CHUNKS
def test_foreach_and_compiled_are_the_page(first: int) -> None:
    """A kernel takes an eighth of a second to make: one recipe in six, all of them on demand."""
    every = 6 if COUNT <= 300 else 1
    compiled = set(range(first, first + CHUNK, every) if engines.has_cc() else ())
    tried = {
        seed: ("foreach", "compiled") if seed in compiled else ("foreach",)
        for seed in range(first, first + CHUNK)
    }
    assert not faults(tried)


@pytest.mark.skipif(not engines.has_triton(), reason="triton is not installed")
def test_triton_is_the_page() -> None:
    assert not faults(dict.fromkeys(range(0, COUNT, 30), ("triton",)), large=False)


@CHUNKS
@pytest.mark.parametrize("engine", ["reference", "lists", "source"])
def test_the_other_engines_are_the_page(first: int, engine: str) -> None:
    assert not faults(dict.fromkeys(range(first, first + CHUNK, 4), (engine,)), large=False)


@CHUNKS
def test_one_step_in_float32_is_within_its_bound(first: int) -> None:
    for seed in range(first, first + CHUNK, 2):
        recipe = optzoo.parse_recipe(drawn(seed))
        program = recipe.program()
        for engine in ("foreach", "source"):
            excess = largest_excess(engine, program, torch.float32)
            assert excess <= 1, f"seed {seed}, {engine}\n{recipe.text}"


@CHUNKS
@pytest.mark.skipif(not engines.has_cc(), reason="no C compiler")
def test_names_change_nothing(first: int) -> None:
    """Names that mean something in C, in Python or in a kernel; kernels take a while, as above."""
    for seed in range(first, first + CHUNK, 25 if COUNT <= 300 else 5):
        text = renamed(drawn(seed), Random(seed))
        program = optzoo.parse_recipe(text).program()
        for engine in ("compiled", "source"):
            excess = largest_excess(engine, program, torch.float32)
            assert excess <= 1, f"seed {seed}, {engine}\n{text}"


@CHUNKS
def test_narrow_parameters_are_the_rounded_ones(first: int) -> None:
    """bfloat16 parameters walk as float32 ones that start there, each shown rounded."""
    for seed in range(first, first + CHUNK, 5):
        paths = []
        for dtype in (torch.float32, torch.bfloat16):
            problem = Problem.drawn(seed, SHAPES)
            params = [
                torch.nn.Parameter(torch.from_numpy(w).bfloat16().to(dtype)) for w in problem.starts
            ]
            recipe = optzoo.parse_recipe(drawn(seed))
            optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
            for grads in problem.gradients:
                for p, g in zip(params, grads, strict=True):
                    p.grad = None if g is None else torch.from_numpy(g).bfloat16().to(dtype)
                optimizer.step()
            paths.append([p.detach().bfloat16() for p in params])
        for wide, narrow in zip(*paths, strict=True):
            assert torch.equal(wide.nan_to_num(), narrow.nan_to_num()), f"seed {seed}"


@CHUNKS
@pytest.mark.skipif(not engines.has_cc(), reason="no C compiler")
def test_a_kernel_with_narrow_buffers_is_the_wide_one_rounded(first: int) -> None:
    """Each buffer ends at a neighbour of its float32 value; kernels take a while, as above."""
    for seed in range(first, first + CHUNK, 10 if COUNT <= 300 else 2):
        recipe = optzoo.parse_recipe(drawn(seed))
        assert excess_of_one_step(recipe) <= 1, f"seed {seed}\n{recipe.text}"


@CHUNKS
def test_a_saved_state_goes_on_bit_for_bit(first: int) -> None:
    for seed in range(first, first + CHUNK, 5):
        problem = Problem.drawn(seed, SHAPES)
        recipe = optzoo.parse_recipe(drawn(seed))
        ends = []
        for is_interrupted in (False, True):
            params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in problem.starts]
            optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
            lr = optimizer.param_groups[0]["lr"]
            for step, grads in enumerate(problem.gradients, 1):
                if is_interrupted and step in (2, 6):
                    saved = optimizer.state_dict()
                    optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
                    optimizer.load_state_dict(saved)
                optimizer.param_groups[0]["lr"] = lr * rates(step)
                for p, g in zip(params, grads, strict=True):
                    p.grad = None if g is None else torch.from_numpy(g)
                optimizer.step()
            optimizer.eval()
            ends.append([p.detach().nan_to_num() for p in params])
        assert all(map(torch.equal, *ends)), f"seed {seed}\n{recipe.text}"


@CHUNKS
def test_yaml_and_printed_programs_come_back(first: int) -> None:
    for seed in range(first, first + CHUNK):
        recipe = optzoo.parse_recipe(drawn(seed))
        again = optzoo.parse_recipe(recipe.to_yaml())
        assert again.digest == recipe.digest
        knob = next(iter(recipe.hyperparameters))
        moved = recipe.with_overrides({knob: 0.5})
        assert optzoo.parse_recipe(moved.to_yaml()).digest == moved.digest


def test_most_of_what_is_drawn_is_legal_and_every_word_is_drawn() -> None:
    """The generator reaches the whole language, and refusals are few."""
    texts, refused = zip(*(draw_legal(Random(seed)) for seed in range(400)), strict=True)
    assert sum(refused) < 100
    everything = "\n".join(texts)
    assert not [word for word in WORDS.split() if word not in everything]


# The attack -----------------------------------------------------------------------------------

ATTACKED = range(120)


def notices(engine: str = "foreach", seeds: range = ATTACKED) -> bool:
    """Return whether a drawn recipe shows that something is wrong."""
    for seed in seeds:
        try:
            if compare(drawn(seed), seed, engine, large=False).excess > 1:
                return True
        except Exception:  # whatever a fault leads to, it is seen
            return True
    return False


def _every_read_is_the_last(lines: Any, olds: Any, wanted: Any) -> list[tuple[Any, list[Any]]]:
    from optzoo.program.expressions import names_in

    may_go = {*olds, *(line.target for line in lines)}
    return [(line, [n for n in set(names_in(line.expr)) if n in may_go]) for line in lines]


def _without_copies(value: Any) -> Any:
    return value.tensor() if isinstance(value, foreach_values.Term) else value


def _stored_one_by_one(self: Any, piece: Any, values: Any) -> None:
    places = dict(zip(self.plan.inputs, piece.values, strict=True))
    for name in self.plan.stores:
        new = values[name]
        if isinstance(new, torch.Tensor):
            places[name.prev].copy_(new)
        else:
            places[name.prev].fill_(new)
    piece.write_back()


def _folded_norms(expr: Any, tensors: Any) -> Any:
    return expr


def _unclear_names(self: Any, level: int, expr: Any) -> Any:
    from optzoo.program.expressions import Name, Num, format_expression
    from optzoo.program.planning import ELEMENTWISE, PER_TENSOR

    if level == ELEMENTWISE or isinstance(expr, Num):
        return expr
    name = Name(format_expression(expr))
    (self.numbers if level == PER_TENSOR else self.coefficients)[name] = expr
    return name


@pytest.mark.parametrize(
    ("place", "name", "wrong"),
    [
        (foreach_blocks, "with_last_reads", _every_read_is_the_last),
        (foreach_blocks, "settled", _without_copies),
        (foreach_blocks.BlockStep, "_store", _stored_one_by_one),
        ("optzoo.program.planning._Lifter", "operand", _unclear_names),
    ],
    ids=["read twice", "shared tensors", "stored one by one", "names that collide"],
)
def test_faults_of_foreach_are_noticed(
    place: Any, name: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(place, str):
        monkeypatch.setattr(f"{place}.{name}", wrong)
    else:
        monkeypatch.setattr(place, name, wrong)
    assert notices()
