"""Drawing with matplotlib's figure objects: one look, legends aside, and files by their suffix.

pyplot is not used, so that no backend is chosen for the process and no display is asked for.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without its yellow, told apart by colour-blind readers."""
STYLES = ("-", "--", ":", "-.")


def check_place(path: Path) -> None:
    """Raise InputError for a suffix that is no format of figures, and for a missing folder."""
    if path.suffix.lower() not in SUFFIXES:
        hint = f"choose one of {', '.join(SUFFIXES)}"
        message = f"`{path}`: figures are not written as `{path.suffix}`"
        raise InputError(Diagnostic("bad-value", message, hint=hint))
    if not path.parent.is_dir():
        message = f"`{path}` cannot be written: the folder {path.parent} does not exist"
        raise InputError(Diagnostic("unwritable", message))


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure.

    Characters that no font has are drawn as boxes, without a word. Raises InputError for another
    suffix, or where the file cannot be written.
    """
    import matplotlib

    check_place(path)
    same: Any = {"svg.hashsalt": "optzoo"}  # ids that are not drawn anew in every file
    try:
        with matplotlib.rc_context(same), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure.savefig(path, dpi=150, metadata=_undated(path.suffix.lower()))
    except OSError as error:
        message = f"`{path}` cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("unwritable", message)) from None


def _undated(suffix: str) -> dict[str, Any]:
    """Return metadata without the time, so that the same figure is the same file."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


def line_look(i: int) -> dict[str, Any]:
    """Return colour and style of the i-th line, different for the first 28."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": STYLES[i // len(COLOURS) % len(STYLES)],
    }


def legend_aside(axes: Any, *, below: bool = False) -> None:
    """Put the legend of a panel beside it, or below it, where no curve is.

    The figure's layout must be `constrained`, which makes room. Names are shown as they are.
    """
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
    if below:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
    _literal(axes.legend(**place, frameon=False, fontsize=8, handlelength=3.5))


def legend_below(figure: Any) -> None:
    """Put one legend for all panels of a figure below them; a line has the same look in each."""
    shown: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(name, handle)
    place = {"loc": "outside lower center", "ncols": 4}
    look = {"frameon": False, "fontsize": 8, "handlelength": 3.5}
    _literal(figure.legend(shown.values(), shown, **place, **look))


def _literal(legend: Any) -> None:
    for text in legend.get_texts():
        text.set_parse_math(False)


SAME, MOSTLY, DASH = 2.0, 0.9, 3.0
"""Curves coincide that are within so many points, about the width of a line, along such a share of
the shorter one; dashes are so many line widths long."""


def part_coincident(axes: Any) -> None:
    """Draw curves that lie on a longer one as dashes over it, so that each colour shows.

    To be called when all that the panel shows is drawn and its scales are set.
    """
    named = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    curves = [(line, *_points(axes, line)) for line in named]
    groups: list[list[Any]] = []
    for curve in sorted(curves, key=lambda curve: -_extent(curve[1])):
        if len(curve[1]) > 1:
            alike = (g for g in groups if any(_lies_on(one, curve) for one in g))
            group = next(alike, None)
            groups.append([curve]) if group is None else group.append(curve)
    for group in groups:
        lines = [line for line in named if any(line is one for one, _, _ in group[1:])]
        below = group[0][0]
        for i, line in enumerate(lines, start=1):
            line.set_linestyle((DASH * i, (DASH, DASH * len(lines))))
            line.set_zorder(below.get_zorder() + i / 10)
        if lines:
            below.set_linewidth(below.get_linewidth() + 0.6)


def _extent(across: Any) -> float:
    return float(across[-1] - across[0]) if len(across) else 0.0


def _lies_on(long: tuple[Any, Any, Any], short: tuple[Any, Any, Any]) -> bool:
    """Return whether a curve runs along one that reaches as far or further."""
    import numpy as np

    (_, u, v), (_, x, y) = long, short
    near = (x >= u[0]) & (x <= u[-1]) & (np.abs(np.interp(x, u, v) - y) <= SAME)
    along = np.diff(x)  # samples may be dense at one end
    return bool(along[near[:-1] & near[1:]].sum() >= MOSTLY * along.sum() > 0)


def _points(axes: Any, line: Any) -> tuple[Any, Any]:
    """Return where a line runs on the page, in points from left to right, where it is finite."""
    import numpy as np

    axes.get_xlim()  # limits follow the data only when they are asked for
    with np.errstate(all="ignore"):
        found = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
    found = found[np.isfinite(found).all(axis=1)] * (72 / axes.figure.dpi)
    across, up = found[np.argsort(found[:, 0], kind="stable")].T
    return across, up
