"""Building C: once, found again, by many at once, and what happens where it cannot be done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optzoo.engines import build
from optzoo.engines.build import CompilationError, load, load_module
from optzoo.engines.engine import has_cc

pytestmark = pytest.mark.skipif(not has_cc(), reason="no C compiler")
ANSWER = "int answer(void) { return 42; }\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OPTZOO_CACHE", str(tmp_path / "cache"))
    build._cache.cache_clear()
    yield tmp_path / "cache"
    build._cache.cache_clear()


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.so"))


def test_a_library_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(ANSWER).answer() == 42
    (library,) = libraries(cache)
    monkeypatch.setattr(build, "_build", None)
    assert load(ANSWER).answer() == 42
    assert libraries(cache) == [library]
    assert not list(cache.glob(".building*"))


def test_other_source_is_another_library(cache: Path) -> None:
    load(ANSWER)
    assert load(ANSWER.replace("42", "43")).answer() == 43
    assert len(libraries(cache)) == 2


def test_a_damaged_library_is_built_again(cache: Path) -> None:
    path = cache / f"{build._key(ANSWER)}.so"
    path.parent.mkdir()
    path.write_bytes(b"not a library")
    assert load(ANSWER).answer() == 42


def test_what_does_not_compile_leaves_nothing_and_says_why(cache: Path) -> None:
    with pytest.raises(CompilationError, match=r"failed: .*error"):
        load("int answer(void) { return 42 }\n")
    assert not list(cache.iterdir())


def test_many_processes_build_at_once(cache: Path) -> None:
    code = f"from optzoo.engines.build import load; assert load({ANSWER!r}).answer() == 42"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert len(libraries(cache)) == 1
    assert not list(cache.glob(".building*"))


def test_a_cache_that_cannot_be_written_is_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPTZOO_CACHE", str(tmp_path / "file" / "cache"))
    build._cache.cache_clear()
    assert build._cache().is_dir()
    assert tmp_path not in build._cache().parents
    build._cache.cache_clear()


def test_a_module_is_a_file_that_can_be_read_again(cache: Path) -> None:
    source = "def answer():\n    return 42\n"
    assert load_module(source).answer() == 42
    (path,) = cache.glob("*.py")
    path.write_text("broken")
    assert load_module(source).answer() == 42
    assert path.read_text() == source
