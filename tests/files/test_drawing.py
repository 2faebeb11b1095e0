"""Figures: files by their suffix, nothing chosen for the process, every curve to be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from optzoo.errors import InputError
from optzoo.files.drawing import check_place, legend_aside, part_coincident, save_figure


def panel(*curves: Any, log: bool = False) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for i, (x, y) in enumerate(curves):
        axes.plot(x, y, label=f"curve {i}")
    if log:
        axes.set(xscale="log", yscale="log")
    return figure, axes


RISING = (list(range(1, 50)), [x**2 for x in range(1, 50)])
LINE = (list(range(1, 50)), [3.0 * x for x in range(1, 50)])


@pytest.mark.parametrize(
    ("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xm"), (".PDF", b"%PDF")]
)
def test_the_suffix_says_the_format_and_a_figure_is_the_same_file(
    suffix: str, begin: bytes, tmp_path: Path
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        save_figure(panel(RISING, LINE)[0], path)
    assert first.read_bytes().startswith(begin)
    assert first.read_bytes() == second.read_bytes()


def test_places_that_no_figure_can_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not written as `\.txt`"):
        check_place(tmp_path / "figure.txt")
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        check_place(tmp_path / "none" / "figure.png")


def test_no_backend_is_chosen_for_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        "matplotlib.use('svg')\n"
        "import optzoo\n"
        "from optzoo.description.output.figure import draw\n"
        "from pathlib import Path\n"
        "draw(optzoo.describe(optzoo.load_recipe('lion')), Path('lion.png'))\n"
        "assert matplotlib.get_backend() == 'svg', matplotlib.get_backend()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lion.png").exists()


def dashes(axes: Any) -> list[bool]:
    return [line.is_dashed() for line in axes.get_lines()]


@pytest.mark.parametrize("log", [False, True])
def test_curves_on_one_another_are_dashed_over_the_first(log: bool) -> None:
    near = (RISING[0], [1.0001 * y for y in RISING[1]])
    sparse = (RISING[0][::3], RISING[1][::3])
    _, axes = panel(RISING, LINE, near, sparse, log=log)
    part_coincident(axes)
    assert dashes(axes) == [False, False, True, True]
    over = axes.get_lines()[2:]
    assert over[0].get_zorder() > axes.get_lines()[0].get_zorder()
    patterns = {str(line._dash_pattern) for line in over}
    assert len(patterns) == 2, "two over one take turns"


def test_a_shorter_curve_is_dashed_over_a_longer_one() -> None:
    short = (RISING[0][:10], RISING[1][:10])
    _, axes = panel(short, RISING)
    part_coincident(axes)
    assert dashes(axes) == [True, False]


def test_curves_that_part_or_only_meet_are_left_alone() -> None:
    crossing = (RISING[0], [500.0] * len(RISING[0]))
    apart = (RISING[0], [1.05 * y for y in RISING[1]])
    elsewhere = ([60, 70], [RISING[1][-1]] * 2)
    _, axes = panel(RISING, crossing, apart, elsewhere)
    part_coincident(axes)
    assert dashes(axes) == [False] * 4


def test_what_is_not_finite_is_passed_over() -> None:
    holes = (RISING[0], [float("nan") if i % 5 else y for i, y in enumerate(RISING[1])])
    nothing = (RISING[0], [float("inf")] * len(RISING[0]))
    _, axes = panel(RISING, holes, nothing)
    part_coincident(axes)
    assert dashes(axes)[0] is False


@pytest.mark.parametrize("below", [False, True])
def test_a_legend_is_off_the_curves(below: bool) -> None:
    figure, axes = panel(RISING, LINE)
    legend_aside(axes, below=below)
    figure.draw_without_rendering()
    curves, legend = axes.get_window_extent(), axes.get_legend().get_window_extent()
    assert not curves.overlaps(legend)
    page = figure.bbox
    assert page.x0 <= legend.x0
    assert legend.x1 <= page.x1
    assert page.y0 <= legend.y0
