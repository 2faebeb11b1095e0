"""One process at a time in a folder; a lock is free when its holder is dead."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import optzoo
from optzoo.errors import Diagnostic
from optzoo.files import lock
from optzoo.files.lock import locked

TAKEN = Diagnostic("in-use", "somebody is here")
HOLDER = """
import sys, time
from pathlib import Path
from optzoo.errors import Diagnostic
from optzoo.files.lock import locked

with locked(Path(sys.argv[1]), Diagnostic("in-use", "")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(optzoo.InputError, match="somebody is here"), locked(tmp_path, TAKEN):
            pass
        holder.kill()
    with locked(tmp_path, TAKEN):  # killed without a word: what it held is free
        pass


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    refused = pytest.raises(optzoo.InputError, match="somebody is here")
    with locked(tmp_path, TAKEN), refused, locked(tmp_path, TAKEN):
        pass
    with locked(tmp_path, TAKEN):
        pass


def test_an_error_inside_lets_go_and_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, TAKEN):
        1 / 0  # noqa: B018
    with locked(tmp_path, TAKEN):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file", TAKEN):
        pass


def test_without_locks_the_work_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with locked(tmp_path, TAKEN) as is_held:
        assert is_held
    monkeypatch.setattr(lock, "_lock", no_locks)
    with locked(tmp_path, TAKEN) as is_held:
        assert not is_held
    assert f"warning: {tmp_path} is on a file system without locks" in capsys.readouterr().err


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path, TAKEN):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
