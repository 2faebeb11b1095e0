"""The attack on oracles: what is changed in the text of one must show in where it goes.

test_mutants.py changes programs and asks whether the oracle tells. Here the oracles themselves are
changed, one place at a time: a number or hyperparameter grows by a thousandth, an operator is
exchanged, an operand, function, transposition or statement dropped, a choice made always one way. A
change that no run here tells apart would be a line that nothing holds to its paper: each must leave
the original's path, or fall over. `HARMLESS` lists those that are the same in other words, with the
reason.

`python -m pytest -n 0 tests/recipe/test_oracle_mutants.py -s` prints the counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from oracles import ORACLES, base
from oracles.base import Array, Oracle
from problems import EXACT

STEPS = 14
TENSORS = (
    ("matrix", (4, 4)),
    ("matrix", (6, 4)),
    ("matrix", (3, 5)),
    ("matrix", (1, 5)),
    ("matrix", (2, 2, 3)),
    ("embedding", (5, 3)),
    ("head", (3, 4)),
    ("query", (4, 3)),
    ("key", (4, 3)),
    ("bias", (4,)),
    ("bias", (2, 3)),
    ("norm", (5,)),
    ("norm", ()),
    ("matrix", (0, 3)),
    ("matrix", (3, 0)),
    ("matrix", (3, 3)),
    ("norm", (2,)),
    ("norm", (2,)),
)
TINY = {len(TENSORS) - 3: 1e-15, len(TENSORS) - 2: 1e-9}
"""Sizes of the gradients of two: what is added to a divisor shows there."""
ABSENT = {0: (0, 1, 2, 3, 4, 8), 1: (10,)}
"""Steps at which a tensor has no gradient."""
LARGE = ("matrix", (30, 40))  # a sign reacts only where its argument is near 0

MODULES = {
    "orthogonal": None,
    "factored": None,
    "two_sided": None,
    "model_wide": None,
    "second_moments": ("AdamAtan2", "Madgrad"),
    "layerwise": ("SgdSaI",),
}
"""Modules under attack, and which of their classes where not all."""

HARMLESS = {
    r"Soap: self\.[AB] = .*": "the bases do not see a factor of all that is gathered",
    r"DEPENDENT: .*": "between rounding and what a gradient brings there is room",
    r"orthonormal: (largest|if size >) .*": "the same",
    r"orthonormal: (without `)?rest = .*": "a column is made orthogonal twice",
    r"orthonormal: without `(if not empty:|break)`": "an empty list stays empty, or falls over",
    r"Muon: wide = .*": "the iteration on a matrix or its transpose is the same but for rounding",
    r".* if self\.cols else 1\.001": "nothing to move",
    r"NorMuon: v_mean = .* / (self\.cols|max\(1\.001, self\.cols\))": "the same",
    r"NorMuon: U = U \* .*1\.001e-10.*": "beside a norm of order one",
    r"Scion: rms = .* / self\.M\.size\)": "the same",
    r"ScheduleFreeMuon: c = .* else 0\.001": "z, x and y have not moved",
    r"Prodigy: one\.t \+= 1\.001": "it only says who is the eldest",
    r"Prodigy: one\.s = beta3 \* one\.s - .*": "only its size is read",
    r"AdamMini: blocks = .*int\(self\.h\.heads \* 1\.001\).*": "heads are whole numbers",
}
"""Changed lines that are the same in other words, and why."""

OTHERS: dict[type[ast.AST], ast.operator | ast.cmpop] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.Pow: ast.Mult(),
    ast.Gt: ast.LtE(),
    ast.LtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
}
DROPPED = {"sqrt", "sign", "abs", "max", "min", "maximum", "cbrt"}
NUDGE = ast.Constant(1.001)


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in place of an expression."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            yield ast.Constant(value * 1.001 if value else 1e-3)
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OTHERS:
                yield ast.BinOp(left, OTHERS[type(op)], right)
            yield from (left, right)
        case ast.Attribute(value=ast.Name(id="h") | ast.Attribute(attr="h"), ctx=ast.Load()):
            yield ast.BinOp(node, ast.Mult(), NUDGE)
        case ast.Attribute(attr="t", ctx=ast.Load()):
            yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        case ast.Attribute(value=value, attr="T"):
            yield value
        case ast.Name(id="t" | "k", ctx=ast.Load()):
            yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args):
            if name in DROPPED:
                yield from args
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OTHERS:
            yield ast.Compare(left, [OTHERS[type(op)]], [right])
            if isinstance(right, ast.Constant) and isinstance(right.value, int | float):
                yield ast.Compare(left, [op], [ast.Constant(right.value + 1)])
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)


def slots(node: ast.AST) -> Iterator[tuple[ast.AST | list, str | int]]:
    """Yield every place below a node that holds another."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "keywords", "slice", "comparators"):
            continue
        if isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield value, i
                    yield from slots(item)
        elif isinstance(value, ast.AST):
            yield node, name
            yield from slots(value)


def mutants(module: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the changed line, and the names of the changed module."""
    tree = ast.parse(Path(base.__file__).with_name(f"{module}.py").read_text())
    for top in tree.body:
        if isinstance(top, ast.ImportFrom | ast.Import):
            continue
        name = getattr(top, "name", ast.unparse(top).split("=")[0].strip())
        wanted = MODULES[module]
        if wanted is not None and name not in wanted:
            continue
        for scope in methods(top):
            for statement in statements(scope):
                yield from changed(module, tree, name, statement)


def methods(top: ast.stmt) -> list[ast.stmt]:
    """Return what is attacked of a class, which is not what its attributes record."""
    if not isinstance(top, ast.ClassDef):
        return [top]
    return [part for part in top.body if isinstance(part, ast.FunctionDef)]


def statements(scope: ast.AST) -> Iterator[tuple[list[ast.stmt] | None, int]]:
    """Yield every simple statement as a place in a block, and the conditions of the others."""
    for node in ast.walk(scope):
        for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
            if isinstance(block, list):
                yield from ((block, i) for i in range(len(block)))
    if isinstance(scope, ast.Assign | ast.AnnAssign):
        yield None, scope  # type: ignore[misc]


def changed(
    module: str, tree: ast.Module, name: str, place: tuple
) -> Iterator[tuple[str, dict[str, object]]]:
    block, at = place
    statement = at if block is None else block[at]
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    if is_text or isinstance(statement, ast.FunctionDef | ast.Raise):
        return
    if block is not None and not isinstance(statement, ast.Return):
        block[at] = ast.Pass()
        yield f"{name}: without `{ast.unparse(statement).splitlines()[0]}`", load(module, tree)
        block[at] = statement
    nested = isinstance(statement, ast.If | ast.For | ast.While)
    parts = ([(statement, "test")] if isinstance(statement, ast.If) else []) if nested else []
    roots = [statement.test] if isinstance(statement, ast.If) else []
    spots = list(slots(statement)) if not nested else parts + [s for r in roots for s in slots(r)]
    for owner, key in spots:
        old = owner[key] if isinstance(owner, list) else getattr(owner, key)
        for new in replacements(old):
            put(owner, key, new)
            line = ast.unparse(statement).splitlines()[0]
            yield f"{name}: {line}", load(module, tree)
            put(owner, key, old)


def put(owner: ast.AST | list, key: str | int, value: ast.AST) -> None:
    if isinstance(owner, list):
        owner[key] = value
    else:
        setattr(owner, key, value)


def load(module: str, tree: ast.Module) -> dict[str, object]:
    """Run a changed module, whose classes register beside nobody; empty where it cannot run."""
    names: dict[str, object] = {"__package__": "oracles", "__name__": f"oracles.{module}"}
    registered, base.ORACLES = base.ORACLES, {}
    try:
        code = compile(ast.fix_missing_locations(tree), f"{module}.py", "exec", dont_inherit=True)
        exec(code, names)
    except (ArithmeticError, TypeError):
        return {}
    finally:
        base.ORACLES = registered
    return names


def path(oracle: type[Oracle], settings: dict[str, float], lr: float) -> Iterator[list[Array]]:
    """Run an oracle on every kind of tensor; yield all its points, of most after each step."""
    rng = np.random.default_rng(3)
    big = oracle.recipe in ("adamuon", "scion", "sgd_sai")
    tensors = (*TENSORS, LARGE) if big else TENSORS
    starts = [np.asarray(rng.normal(size=shape)) for _, shape in tensors]
    ones = [
        oracle(start, STEPS, kind, **settings)
        for start, (kind, _) in zip(starts, tensors, strict=True)
    ]
    drifts = [np.asarray(rng.normal(size=start.shape)) for start in starts]  # Prodigy's progress
    for t in range(STEPS):
        size = 0.0 if t in (2, 7) else (0.1, 0.4, 3.0)[t // 2 % 3]
        grads = [np.asarray(size * (rng.normal(size=d.shape) + d)) for d in drifts]
        grads = [g * TINY.get(i, 1.0) for i, g in enumerate(grads)]
        grads[1][0] *= 1e-10  # an output that is hardly used
        grads[5][0] = 0.0  # a token that never occurs
        present = [i for i in range(len(ones)) if t not in ABSENT.get(i, ())]
        rate = 0.0 if t in (0, 5) else lr * (1 + 0.3 * np.sin(t))
        oracle.step_together([ones[i] for i in present], [grads[i] for i in present], rate)
        yield [one.train_point() for one in ones] + [one.eval_point() for one in ones]


def runs(oracle: type[Oracle]) -> Iterator[tuple[dict[str, float], float]]:
    lively = {key: value for key, value in oracle.lively.items() if key != "lr"}
    lr = oracle.lively["lr"]
    yield lively, lr
    shipped = {**oracle.defaults, **{k: v for k, v in oracle.our_defaults.items() if k != "lr"}}
    yield shipped, oracle.default_lr  # type: ignore[misc]


@cache
def original(recipe: str) -> list[list[list[Array]]]:
    return [list(path(ORACLES[recipe], s, lr)) for s, lr in runs(ORACLES[recipe])]


def leaves(oracle: type[Oracle]) -> bool:
    """Whether a changed oracle leaves the path of the original, or falls over."""
    try:
        for (settings, lr), seen in zip(
            runs(ORACLES[oracle.recipe]), original(oracle.recipe), strict=True
        ):
            for found, wanted in zip(path(oracle, settings, lr), seen, strict=True):
                for a, b in zip(found, wanted, strict=True):
                    if a.shape != b.shape or not np.all(np.abs(a - b) <= EXACT * (1 + np.abs(b))):
                        return True
    except Exception:
        return True
    return False


def in_module(oracle: type[Oracle], module: str) -> bool:
    """Whether an oracle of a recipe is one that is under attack."""
    chosen = MODULES[module] or (oracle.__name__,)
    is_oracle = vars(oracle).get("recipe") is not None
    return is_oracle and oracle.__module__ == f"oracles.{module}" and oracle.__name__ in chosen


def candidates(name: str, module: str, names: dict[str, object]) -> list[type[Oracle]]:
    """Return the changed oracles that may show it, most likely first."""
    found = [
        value
        for value in names.values()
        if isinstance(value, type) and issubclass(value, Oracle) and in_module(value, module)
    ]
    own = names.get(name.split(":")[0])
    if isinstance(own, type):
        found = [value for value in found if issubclass(value, own)]
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", MODULES)
def test_every_change_of_an_oracle_shows(module: str) -> None:
    assert not [
        oracle for oracle in ORACLES.values() if in_module(oracle, module) and leaves(oracle)
    ]
    count, survivors = 0, []
    for line, names in mutants(module):
        count += 1
        if names and not any(leaves(oracle) for oracle in candidates(line, module, names)):
            survivors.append(line)
    print(f"\n{module:16} mutants {count:4}   survivors {len(survivors)}")
    for line in survivors:
        print(f"    {line}")
    assert count >= 20
    assert not [line for line in survivors if not any(re.fullmatch(h, line) for h in HARMLESS)]
