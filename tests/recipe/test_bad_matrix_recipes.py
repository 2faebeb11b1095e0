"""Mistakes in recipes of version 2: one error each, at the very characters, with what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import optzoo

HEAD = "name: mine\nversion: 2\nsummary: a recipe with one mistake\nreference: none\n"
KNOBS = """hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  mu: {default: 0.9, in: "[0, 1)", doc: decay}
"""
M = "buffers:\n  m: {input: grad, decay: mu, gain: 1 - mu}\n"
U = "update: {mix: {m: 1}}\n"
POLAR = f"{KNOBS}{M}order: momentum_first\n{U}"


def squares(rest: str) -> str:
    """Return a recipe whose buffer A is made of `grad @ grad.T` and says `rest` too."""
    fed = "input: grad @ grad.T, decay: mu, gain: 1"
    return f"{KNOBS}buffers:\n  A: {{{fed}, {rest}}}\nupdate: A @ grad\n"


CASES = {
    # sides
    "row times matrix": (
        f"{KNOBS}update: grad @ mean(grad, row)\n",
        "grad @ mean(grad, row)",
        "`grad @ mean(grad, row)` multiplies rows x cols by rows x 1",
        "turn one of them with `.T`",
    ),
    "a step of other sides": (
        f"{KNOBS}update: grad @ grad.T\n",
        "grad @ grad.T",
        "the step is a matrix of rows x rows, and the parameter is rows x cols",
        "rows, then cols",
    ),
    "a power of what is not square": (
        f"{KNOBS}update: power(grad, -1/4)\n",
        "power(grad, -1/4)",
        "`power` takes two sides of the same name",
        "of each element it is `x**p`",
    ),
    "first of other sides": (
        squares("first: grad.T @ grad"),
        "{input: grad @ grad.T, decay: mu, gain: 1, first: grad.T @ grad}",
        "`grad.T @ grad` is a matrix of cols x cols, and `mu*A.prev + grad @ grad.T` is",
        "sides are told apart by name",
    ),
    "init of other sides": (
        squares("init: identity(grad.T @ grad)"),
        "{input: grad @ grad.T, decay: mu, gain: 1, init: identity(grad.T @ grad)}",
        "`mu*A.prev` is a matrix of cols x cols, and `grad @ grad.T` is a matrix of rows x rows",
        "sides are told apart by name",
    ),
    "identity of no square": (
        f"{KNOBS}buffers:\n  R: {{init: identity, input: grad, decay: 0, gain: 1}}\nupdate: R\n",
        "identity",
        "an identity matrix has two sides of the same name",
        "say whose: `identity(grad @ grad.T)`",
    ),
    # starts, refreshes, buffers
    "init of itself": (
        squares("init: A"),
        "A",
        "where `A` starts needs `A` itself",
        "let it read `grad`, `param` or numbers",
    ),
    "init of a name that is not there": (
        squares("init: eps*identity"),
        "eps",
        "`eps` is not a hyperparameter, scalar, buffer or signal",
        "known names: A, T, cols",
    ),
    "a start that may be 0": (
        f'{KNOBS}buffers:\n  R: {{init: norm(param), input: "max(R.prev, norm(grad))", decay: 0, '
        "gain: 1}\nupdate: grad/R.prev\n",
        "grad/R.prev",
        "division by `R.prev`, which can be 0",
        "or write `ratio(a, b)`, which is 0 where b is",
    ),
    "refresh without its keys": (
        squares("refresh: 10"),
        "10",
        "expected a mapping of keys to values, not `10`",
        "write it as `{every: 10, input: EXPRESSION}`",
    ),
    "a key of refresh misspelt": (
        squares("refresh: {evry: 10, input: grad @ grad.T}"),
        "evry",
        "`evry` is not a key of `buffers.A.refresh`",
        "did you mean `every`?",
    ),
    "a buffer of nothing": (
        f"{KNOBS}buffers:\n  A: {{init: identity}}\nupdate: A @ grad\n",
        "{init: identity}",
        "a buffer says `input`, `decay` and `gain`, or `refresh`",
        "{input: grad, decay: DECAY, gain: 1 - DECAY}",
    ),
    "a comma without quotes": (
        f"{KNOBS}buffers:\n  v: {{input: mean(square(grad), row), decay: mu, gain: 1}}\n"
        "update: grad/(v + 1)\n",
        "mean(square(grad), row)",
        "inside braces a comma ends the value",
        'quote what has a comma: `input: "mean(square(grad), row)"`',
    ),
    # the words of reductions
    "a word that is nearly one": (
        f"{KNOBS}update: grad/(mean(abs(grad), rows) + 1)\n",
        "rows",
        "`rows` does not say what keeps a number of its own",
        "did you mean `row`?",
    ),
    "blocks without a number": (
        f"{KNOBS}update: grad/(mean(abs(grad), block) + 1)\n",
        "block",
        "`block` needs the number of blocks",
        "write `mean(x, block(heads))`",
    ),
    "the largest of a model": (
        f'{KNOBS}model:\n  n: "largest(abs(grad), model)"\nupdate: n*grad\n',
        "model",
        "there is no `largest` over all parameters",
        "`sum(x, model)` and `dot(x, y, model)`",
    ),
    "division by a norm": (
        f"{KNOBS}update: grad/norm(grad)\n",
        "norm(grad)",
        "division by `norm(grad)`, which can be 0",
        "or write `ratio(a, b)`, which is 0 where b is",
    ),
    "division by a tensor of any sign": (
        f"{KNOBS}update: norm(grad)/grad\n",
        "grad",
        "division by `grad`, which can be 0",
        "`a/(abs(b) + eps)`; or write `ratio(a, b)`",
    ),
    # polar
    "polar without a list": (
        f"{POLAR}preconditioner: polar\n",
        "polar",
        "`preconditioner`: `polar` needs its settings",
        "write `preconditioner: {polar: {coefficients: jordan}}`",
    ),
    "polar as its list": (
        f"{POLAR}preconditioner: {{polar: jordan}}\n",
        "jordan",
        "expected a mapping of keys to values, not `jordan`",
        "write it as `{coefficients: jordan}`",
    ),
    "a list misspelt in a section": (
        f"{POLAR}preconditioner: {{polar: {{coefficients: jordam}}}}\n",
        "jordam",
        "`jordam` is no list of coefficients",
        "did you mean `jordan`?",
    ),
    "a list misspelt in an expression": (
        f"{KNOBS}{M}update: polar(m, jordon)\n",
        "jordon",
        "`jordon` is not a list of coefficients",
        "did you mean `jordan`?",
    ),
    "a list before the matrix": (
        f"{KNOBS}{M}update: polar(jordan, m)\n",
        "jordan",
        "the list of `polar` comes after the matrix",
        "write `polar(m, jordan)`",
    ),
    "a dtype of nothing polar": (
        f"{KNOBS}{M}{U}polar_dtype: bfloat16\n",
        "bfloat16",
        "`polar_dtype` is read by `polar`, and nothing here is polar",
        "remove it",
    ),
    "an eps of 0 in a section": (
        f"{POLAR}preconditioner: {{polar: {{coefficients: jordan, eps: 0}}}}\n",
        "0",
        "`preconditioner.polar.eps`: must be above 0",
        "such as 1e-7",
    ),
    "an eps of 0 in an expression": (
        f'{KNOBS}{M}update: "polar(m, jordan, lr)"\n',
        "polar(m, jordan, lr)",
        "`polar` divides by a norm plus its eps, and `lr` lies in [0, inf)",
        "such as 1e-7",
    ),
    # numbers and the words of other languages
    "a size as a number of the step": (
        f"{KNOBS}scalars:\n  k: sqrt(rows)\nupdate: k*grad\n",
        "rows",
        "`rows` is another for each parameter, and one number is wanted here",
        "sizes stand in expressions of tensors",
    ),
    "a tensor as a number of the model": (
        f"{KNOBS}model:\n  n: sum(square(grad))\nupdate: n*grad\n",
        "sum(square(grad))",
        "`n` is a number, but its expression is a tensor",
        "`sum(x, model)`",
    ),
    "the inverse": (
        f"{KNOBS}update: inv(grad @ grad.T) @ grad\n",
        "inv",
        "`inv` is not a function",
        "write `power(a, -1)`, of a symmetric matrix",
    ),
    "an axis": (
        f'{KNOBS}update: "grad/(mean(abs(grad), axis=0) + 1)"\n',
        "mean(abs(grad), axis=0)",
        "`mean` takes plain arguments, without `name=`",
        "`mean(x, row)` is one for each row",
    ),
    "a power": (
        f"{KNOBS}update: grad^2\n",
        "grad^2",
        "`grad ^ 2` is no operation here",
        "a power is `a**b`",
    ),
    "a start of another language": (
        squares("init: ones"),
        "ones",
        "`ones` is not a hyperparameter, scalar, buffer or signal",
        "a buffer starts as zeros, grad, param, a number or an expression; known names: A",
    ),
    "a transpose of another language": (
        f"{KNOBS}{M}update: m @ m.t() @ m\n",
        "m.t()",
        "`m.t()` is not allowed in an expression",
        "write `m.T`",
    ),
    # keys in other sections
    "a list as the preconditioner": (
        f"{POLAR}preconditioner: jordan\n",
        "jordan",
        "`jordan` is a list of coefficients of `polar`",
        "write `preconditioner: {polar: {coefficients: jordan}}`",
    ),
    "polar in the update": (
        f"{KNOBS}{M}update: {{mix: {{m: 1}}, polar: jordan}}\n",
        "polar",
        "`polar` is not a key of `update`",
        "`polar` is a key of `preconditioner`",
    ),
    "every without refresh": (
        squares("every: 10"),
        "every",
        "`every` is not a key of `buffers.A`",
        "`every` is a key of `buffers.NAME.refresh` and `point.refresh`",
    ),
    # other recipes
    "two parents": (
        "extends: [adamw, muon]\n",
        "[adamw, muon]",
        "`extends`: expected text, not a list",
        "one recipe: a shipped name, or a path",
    ),
    "a name that means something there": (
        'extends: adamw\nhyperparameters:\n  m: {default: 1, in: "[0, inf)", doc: mine}\n'
        "update: m*direction\n",
        "m",
        "`m` would be a hyperparameter, and is a buffer of adamw",
        "one name has one meaning",
    ),
    "a change of no hyperparameter": (
        "extends: muon\nhyperparameters:\n  muu: {default: 0.9}\n",
        "muu",
        "`muu` is no hyperparameter of muon",
        "did you mean `mu`?",
    ),
    "moved in the step": (
        f"{KNOBS}{M}update: m + moved\n",
        "m + moved",
        "`moved` is the point after the step, and the step needs this",
        "read `param`, the point before it",
    ),
    "moved in what the step reads": (
        f"{KNOBS}signals:\n  s: moved - param\nupdate: s + grad\n",
        "moved - param",
        "`moved` is the point after the step, and the step needs this",
        "read `param`, the point before it",
    ),
    "a point beside an average": (
        "extends: schedule_free_sgd\npoint: moved*2\n",
        "point",
        "`point` replaces the point after the step, and `averaging` has two of them",
        "",
    ),
    # routes
    "an unknown kind": (
        f"{KNOBS}{M}{U}routes:\n  - {{kind: matrices, use: here}}\n",
        "matrices",
        "`routes.0.kind`: `matrices` is not allowed here",
        "write 'matrix', 'embedding', 'head', 'norm' or 'bias'",
    ),
    "an open bracket": (
        f'{KNOBS}{M}{U}routes:\n  - {{name: "*.[qk_proj*", use: here}}\n',
        '"*.[qk_proj*"',
        "a `[` of this pattern is not closed",
        "`[abc]` is one of a, b and c",
    ),
    "a part that is not there": (
        f"{KNOBS}{M}{U}routes:\n  - {{kind: matrix, use: here}}\n  - {{use: plain}}\n",
        "plain",
        "`plain` is neither `here`, nor a part, nor a shipped recipe",
        "did you mean",
    ),
    "a part that is the recipe": (
        f"{KNOBS}{M}{U}routes:\n  - {{use: here}}\nparts:\n  here: {{update: grad}}\n",
        "here",
        "`here` is the recipe itself, and no part of it",
        "",
    ),
    "a route behind all others": (
        f"{KNOBS}{M}{U}routes:\n  - {{use: here}}\n  - {{kind: norm, use: adamw}}\n",
        "{kind: norm, use: adamw}",
        "this route is never reached: route 1 takes anything before",
        "put it first, or remove it",
    ),
    "a setting that is not there": (
        f"{KNOBS}{M}{U}routes:\n  - {{use: adamw, set: {{betta2: 0.9}}}}\n",
        "betta2",
        "`betta2` is not a hyperparameter of adamw",
        "did you mean `beta2`?",
    ),
    "parts that are a list": (
        f"{KNOBS}{M}{U}routes:\n  - {{use: p}}\nparts:\n  - {{update: grad}}\n",
        "-",
        "`parts`: expected a mapping of keys to values, not a list",
        "",
    ),
    "routes that are no list": (
        f"{KNOBS}{M}{U}routes: {{matrix: here, rest: adamw}}\n",
        "{matrix: here, rest: adamw}",
        "`routes`: expected a list, not a mapping",
        "a line for each, in order: `- {kind: matrix, use: here}`",
    ),
}
LATER = {
    "routes": f"{KNOBS}{M}{U}routes:\n  - {{use: here}}\n",
    "extends": "extends: adamw\n",
    "model": f"{KNOBS}{M}{U}model:\n  n: 'sum(square(grad), model)'\n",
    "polar(m, jordan)": f"{KNOBS}{M}update: polar(m, jordan)\n",
    "(m @ m.T) @ grad": f"{KNOBS}{M}update: (m @ m.T) @ grad\n",
    "where(m > 0, m, grad)": f"{KNOBS}{M}update: where(m > 0, m, grad)\n",
    "norm(param)": f"{KNOBS}buffers:\n  m: {{input: grad, decay: mu, gain: 1, init: norm(param)}}\n"
    "update: m\n",
    "size": f"{KNOBS}update: grad/sqrt(size)\n",
}


def shown(text: str) -> str:
    """Return the one error that a recipe gives, as it is printed."""
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.parse_recipe(text)
    assert len(caught.value.diagnostics) == 1, str(caught.value)
    return str(caught.value)


def marked(error: str) -> str:
    """Return what the caret of an error stands under."""
    source, caret = error.splitlines()[1:3]
    start = caret.index("^")
    return source[start : start + caret.count("^")]


@pytest.mark.parametrize("name", CASES)
def test_one_error_at_its_place_says_what_to_do(name: str) -> None:
    text, place, message, hint = CASES[name]
    error = shown(HEAD + text)
    assert message in error.splitlines()[0]
    assert marked(error) == place
    assert hint in error.partition("hint: ")[2]
    assert "_before" not in error


@pytest.mark.parametrize("place", LATER)
def test_words_of_version_2_in_version_1_are_told_so_once(place: str) -> None:
    error = shown(HEAD.replace("version: 2", "version: 1") + LATER[place])
    assert marked(error) == place
    assert "`version: 2`" in error.partition("hint: ")[2]


def test_a_wrong_recipe_ends_with_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + CASES["a list before the matrix"][0])
    done = subprocess.run(
        [sys.executable, "-m", "optzoo", "validate", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}:10:15: `update`: the list of `polar` comes")
    assert "Traceback" not in done.stderr


def test_starts_are_told_of_states_and_digests_stay() -> None:
    from optzoo.program.reading import readable

    program = optzoo.load_recipe("shampoo").program()
    assert "A_before := where(t == 1, eps*identity(A.prev), A.prev)" in program.text()
    text = readable(program)
    assert "state    A.prev : rows x rows, starts at eps*identity\n" in text
    assert "A     := A.prev + grad @ grad.T" in text
    assert "before" not in text
    assert (
        readable(optzoo.load_recipe("adamw").program())
        == optzoo.load_recipe("adamw").program().text()
    )


def test_a_dtype_of_polar_that_is_inherited_is_no_mistake() -> None:
    recipe = optzoo.parse_recipe(f"{HEAD}extends: muon\npreconditioner: sign\n")
    assert "sign(" in recipe.program().text()
