"""Files that are whole or absent, written where nobody else can say what is overwritten."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from optzoo.files.atomic import replacing, sync_folder, to_json, write_durably
from optzoo.files.sealed import DamagedFileError, read_object, seal, unseal


def test_a_file_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"two"):
        write_durably(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_where_it_fails_the_old_one_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_durably(path, b"new")
    assert error.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"

    def break_off() -> None:
        with replacing(path) as beside:
            beside.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_planted_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in (".file.partial", "file"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_folders_that_cannot_be_flushed(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if code == errno.EIO:  # a disk that fails is another matter
        with pytest.raises(OSError, match="Input/output"):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)


def test_names_that_are_not_utf_8_read_back() -> None:
    name = os.fsdecode(b"r\xff")
    assert json.loads(to_json({"name": name})) == {"name": name}


def test_a_seal_covers_values_not_layout(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    values = {"a": [1, 0.1, None], "b": {"c": "ü"}}
    path.write_bytes(seal(values))
    assert unseal(read_object(path), path.name) == values
    path.write_text(json.dumps(dict(reversed(read_object(path).items())), indent=7))
    assert unseal(read_object(path), path.name) == values
    path.write_text(path.read_text().replace("0.1", "0.10000000000000002"))
    with pytest.raises(DamagedFileError, match="was changed"):
        unseal(read_object(path), path.name)
    with pytest.raises(DamagedFileError, match="lacks its `sha256`"):
        unseal(values, path.name)
    assert unseal(values, path.name, always=False) == values
    for text in ("", "{", "[1]", "[" * 10**5, "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(DamagedFileError, match=r"file\.json is not"):
            read_object(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file.json")
    with pytest.raises(DamagedFileError, match="is not a regular file"):
        read_object(tmp_path / "file.json")
