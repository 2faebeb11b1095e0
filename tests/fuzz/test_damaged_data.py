"""Prepared data that is damaged at random: one error, or found by `verify`, never other tokens.

`OPTZOO_FUZZ=500` damages it so many times; failures name the number that makes them again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optzoo.data.manifest import Manifest, read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.prepared import describe, draw_sample, open_index, open_tokens, verify
from optzoo.errors import CONTROLS, OptzooError

COUNT = int(os.environ.get("OPTZOO_FUZZ", "30"))
VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**63, 10**30, 1.5, float("nan"), "", "x", "../../x", "\x1b[31m"),
    *([], [1], {}, {"a": 1}, "0" * 64, [["0" * 64, "0" * 64]], "\ud800", "1", 257, 65536),
]

Damage = Callable[[random.Random, Path], object]


@dataclass(frozen=True)
class Prepared:
    """A complete directory, and one that was stopped half-way."""

    request: Request
    whole: Path
    begun: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    place = tmp_path_factory.mktemp("data")
    draw = random.Random(0)
    for name in "ab":
        lines = (
            json.dumps({"text": f"{name} {i} {'word ' * draw.randrange(9)}"}) for i in range(60)
        )
        (place / f"{name}.jsonl").write_text("\n".join(lines))
    request = Request((str(place / "?.jsonl"),), hold_out=4, shard_tokens=400)
    prepare(request, place / "whole", quiet=True)
    good = (place / "b.jsonl").read_bytes()
    (place / "b.jsonl").write_bytes(good + b"\nno document")
    with pytest.raises(OptzooError, match="not JSON"):
        prepare(request, place / "begun", quiet=True)
    (place / "b.jsonl").write_bytes(good)
    assert len(list((place / "begun").glob("*.tokens"))) > 2
    return Prepared(request, place / "whole", place / "begun")


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, which has the times of the sources."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*-*.*")}


def tokens_of(folder: Path) -> list[list[int]]:
    """Everything that training reads of a directory."""
    manifest = read_manifest(folder)
    found = []
    for split in (manifest.train, manifest.validation):
        row = open_tokens(folder, split, manifest)
        found.append(row[np.arange(len(row))].tolist())
        index = open_index(folder, split)
        found += [index.ends.tolist(), index.byte_ends.tolist()]
    return found


def flip(draw: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 20])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(draw: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def append(draw: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.choice([1, 2, 16, 5000])))


def blank(draw: random.Random, path: Path) -> None:
    """Zeros, as a file system leaves them after a crash."""
    data = bytearray(path.read_bytes())
    start = draw.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


def exchange(draw: random.Random, path: Path) -> None:
    other = draw.choice(sorted(p for p in path.parent.iterdir() if p.name[0] != "."))
    path.write_bytes(other.read_bytes())


def remove(draw: random.Random, path: Path) -> None:
    path.unlink()
    if draw.random() < 0.3:
        path.mkdir()


def change_value(draw: random.Random, path: Path) -> None:
    """Another value, or none, somewhere in a JSON file; any other file is cut."""
    if path.suffix != ".json":
        return cut(draw, path)
    data = json.loads(path.read_bytes())
    node: Any = data
    while True:
        key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.15:
            break
        node = node[key]
    if draw.random() < 0.2:
        del node[key]
    else:
        node[key] = draw.choice(VALUES)
    return path.write_text(json.dumps(data)) and None


DAMAGES: list[Damage] = [flip, cut, append, blank, exchange, remove, change_value]


def damage(index: int, folder: Path) -> str:
    """Damage one file of a directory, the same for an index; return what was done."""
    draw = random.Random(index)
    files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    notes = [path for path in files if path.suffix == ".json"]
    path = draw.choice(notes if draw.random() < 0.5 else files)
    how = draw.choice([*DAMAGES, change_value, change_value])
    how(draw, path)
    return f"{index}: {how.__name__} {path.name}"


def attempt(what: str, action: Callable[[], object]) -> object:
    """Return what an action gives, None where it is refused with one clear error."""
    try:
        return action()
    except OptzooError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert message.startswith("error: "), what
    assert not CONTROLS.search(message), what
    return None


@pytest.mark.parametrize("index", range(COUNT))
def test_damaged_data_is_refused_or_read_as_it_was(
    index: int, prepared: Prepared, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared.whole, out)
    what = damage(index, out)
    checked = attempt(what, lambda: verify(out))
    found = attempt(what, lambda: tokens_of(out))
    assert found in (None, tokens_of(prepared.whole)), what
    assert checked is None or found is not None, what
    assert not isinstance(checked, Manifest) or checked == read_manifest(prepared.whole), what
    attempt(what, lambda: (describe(out), draw_sample(out)))
    attempt(what, lambda: prepare(prepared.request, out, quiet=True))


@pytest.mark.parametrize("index", range(1000, 1000 + COUNT))
def test_a_damaged_beginning_is_refused_or_gone_on_with(
    index: int, prepared: Prepared, tmp_path: Path
) -> None:
    """A finished token file with other content may pass here: opening it tells, and `verify`."""
    out = tmp_path / "out"
    shutil.copytree(prepared.begun, out)
    what = damage(index, out)
    if attempt(what, lambda: prepare(prepared.request, out, quiet=True)) is None:
        return
    found = attempt(what, lambda: tokens_of(out))
    assert found in (None, tokens_of(prepared.whole)), what
    if attempt(what, lambda: verify(out)) is not None:
        assert content_of(out) == content_of(prepared.whole), what
