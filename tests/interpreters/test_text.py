"""Equations: what is printed means what the program says, and the LaTeX compiles."""

from __future__ import annotations

import math
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import RECIPES
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.description.description import describe
from optzoo.description.output.page import coefficient_equations, format_latex_page
from optzoo.errors import InputError
from optzoo.interpreters.equations import Printer, equations, format_equations, printer_for
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import (
    Call,
    Expr,
    Name,
    NameAt,
    Num,
    div,
    format_expression,
    mul,
    one_minus,
)
from optzoo.program.parsing import parse_expression

NAMES = {Name("a"): 0.7, Name("b"): 1.3, Name("c"): 2.1}
PLAIN = Printer("text", moving=frozenset())


def expressions() -> st.SearchStrategy[Expr]:
    leaves: st.SearchStrategy[Expr] = st.one_of(
        st.sampled_from(list(NAMES)), st.integers(1, 9).map(lambda n: Num(Fraction(n, 2)))
    )

    def extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        two = st.tuples(inner, inner)
        return st.one_of(
            st.tuples(st.sampled_from(["add", "sub", "mul", "div"]), two).map(lambda p: Call(*p)),
            inner.map(lambda a: Call("neg", (a,))),
            inner.map(lambda a: Call("square", (a,))),
            inner.map(lambda a: Call("sqrt", (Call("abs", (a,)),))),
        )

    return st.recursive(leaves, extend, max_leaves=8)


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_the_text_means_the_expression(expr: Expr) -> None:
    """Reading the text back gives the same number: no parenthesis is missing."""
    text = PLAIN.expression(expr)
    try:
        value = evaluate(expr, FloatDomain(), NAMES)
    except ZeroDivisionError:
        return
    again = evaluate(parse_expression(text.replace("^", "**")), FloatDomain(), NAMES)
    assert again == pytest.approx(value, rel=1e-9, abs=1e-9) or math.isnan(value)


def test_adamw_in_full() -> None:
    assert format_equations(optzoo.load_recipe("adamw").trained_program()) == [
        "m_t     = beta1*m_{t-1} + (1 - beta1)*g_t",
        "v_t     = beta2*v_{t-1} + (1 - beta2)*g_t^2",
        "u_t     = m_t/((1 - beta1^t)*(sqrt(v_t/(1 - beta2^t)) + eps))",
        "w_{t+1} = w_t - lr*(u_t + weight_decay*w_t)",
    ]


def test_the_previous_momentum_carries_its_step() -> None:
    (_, u, _) = equations(optzoo.load_recipe("lion").trained_program())
    assert str(u) == "u_t = sign(beta1*m_{t-1} + (1 - beta1)*g_t)"


def test_latex_of_ademamix() -> None:
    lines = {e.left: e.right for e in equations(optzoo.load_recipe("ademamix").program(), "latex")}
    assert lines["m_{2,t}"] == (r"\beta_{3,t} \, m_{2,t-1} + \left(1 - \beta_{3,t}\right) \, g_{t}")
    assert lines["v_{t}"].endswith(r"{g_{t}}^{2}")


def test_an_averaged_point_is_an_equation_too() -> None:
    *_, last = equations(optzoo.load_recipe("schedule_free_sgd").trained_program())
    assert str(last) == "evaluated_{t+1} = w_{t+1} + (1 - beta)*(1 - c_t)*b_t"


def test_closed_forms_are_printed_with_their_steps() -> None:
    program = optzoo.load_recipe("ademamix").program()
    before, now = NameAt("beta3_t", offset=-1), NameAt("beta3_t")
    formula = div(mul(Name("lr"), before), one_minus(now))
    text = printer_for(program, "latex").expression(formula)
    assert text == r"\frac{\eta \, \beta_{3,t-1}}{1 - \beta_{3,t}}"
    assert format_expression(formula) == "lr*beta3(t-1)/(1 - beta3(t))"


STEPS = """
name: steps
version: 1
summary: factors that depend on the step
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: lr}
scalars:
  late: "positive(t - 2)"
  mean: "min(late, 1/(1 - (1/3)**t))"
buffers:
  m: {input: grad, decay: "1/3", gain: mean}
update: "m*(1 - (1/3)**t)"
"""


def test_a_formula_shows_the_arguments_of_its_functions_and_powers_of_fractions() -> None:
    found = describe(optzoo.parse_recipe(STEPS), at=(1, 5))
    assert found.closed_form is not None
    assert found.closed_form["eta_a"].endswith("(1 - (1/3)**t)")
    assert found.momentum_values(5)[0][1] == pytest.approx(1 - 3**-5, rel=1e-12)
    shown = {e.left: e.right for e in coefficient_equations(found)}
    assert r"\left[t - 2 > 0\right]" in " ".join(shown.values())


def test_a_formula_may_be_longer_than_what_a_recipe_can_say() -> None:
    hypers = "".join(f'  b{i}: {{default: 0.01, in: "(0, 1)", doc: b}}\n' for i in range(45))
    sums = "".join(
        f'  s{k}: "{" + ".join(f"b{i}*t**{i % 9}" for i in range(15 * k, 15 * k + 15))}"\n'
        for k in range(3)
    )
    rest = "buffers:\n  m: {input: grad, decay: 0.5, gain: s0 + s1 + s2}\nupdate: m\n"
    text = STEPS.split("scalars:")[0] + hypers + "scalars:\n" + sums + rest
    found = describe(optzoo.parse_recipe(text), at=(1, 5))
    assert "b_{44}" in format_latex_page(found)
    assert "b44" in (found.closed_form or {})["eta_a"]


def test_lr_and_eta_do_not_share_a_letter() -> None:
    program = optzoo.load_recipe("agnes").program()
    printer = printer_for(program, "latex")
    assert printer.name(Name("lr")) != printer.name(Name("eta"))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_of_every_recipe_compiles(tmp_path: Path) -> None:
    pages = [format_latex_page(describe(optzoo.load_recipe(name))) for name in RECIPES]
    head = "\\documentclass{article}\n\\usepackage{amsmath}\n\\begin{document}\n"
    (tmp_path / "all.tex").write_text(head + "\n\n".join(pages) + "\n\\end{document}\n")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_every_closed_form_is_printed() -> None:
    for name in ("adan", "schedule_free_radam", "gpa_adamw", "nadam"):
        found = describe(optzoo.load_recipe(name))
        assert len(coefficient_equations(found)) >= len(found.closed_form or {})


# ------------------------------------------------------------------ the command


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["describe", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.output


def test_outputs_of_the_command() -> None:
    assert "\\begin{align*}" in run("lion", "--latex")
    assert run("lion", "--markdown").startswith("# lion\n")
    assert run("lion", "--program").startswith("program lion (")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_figure_is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"figure{suffix}"
    run("schedule_free_sgd", "--plot", str(path), "--at", "5,50")
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one recipe"),
        (("lion", "--json", "--latex"), "choose one of"),
        (("lion", "--plot", "figure.bmp"), "not written as `.bmp`"),
        (("lion", "--plot", "no/such/folder/figure.png"), "cannot be written"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)
