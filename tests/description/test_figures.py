"""Figures are drawn on a `Figure` of their own: the caller's matplotlib stays as it is."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

import optzoo
from optzoo.description.output.figure import draw

SOURCES = sorted(Path(optzoo.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_backend_stays_that_of_the_caller(tmp_path: Path, suffix: str) -> None:
    before = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        draw(optzoo.describe(optzoo.load_recipe("ademamix")), tmp_path / f"figure.{suffix}")
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(before)
    assert (tmp_path / f"figure.{suffix}").stat().st_size > 1000


def test_nothing_asks_for_a_backend() -> None:
    texts = {path: path.read_text() for path in SOURCES}
    assert any("matplotlib.figure import Figure" in text for text in texts.values())
    for path, text in texts.items():
        assert "matplotlib.use(" not in text, path
        assert "import pyplot" not in text, path
