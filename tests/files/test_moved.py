"""Old names of modules: what scripts and pickles import is what is there now."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from optzoo.files.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_moved_module(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=MOVED[old][0]):
        found = importlib.import_module(old)
    homes = [importlib.import_module(name) for name in MOVED[old]]
    for home in homes:
        for name, value in vars(home).items():
            if getattr(value, "__module__", None) == home.__name__:
                assert getattr(found, name) is value
    if len(homes) == 1:
        assert found is homes[0]
        assert found.__spec__ is not None
        assert found.__spec__.name == MOVED[old][0]


def test_a_script_of_then_runs() -> None:
    code = (
        "from optzoo.catalog import recipes_dir\n"
        "import optzoo.train.signals\n"
        "from optzoo.train.checkpoint import list_checkpoints\n"
        "print((recipes_dir() / 'adamw.yaml').exists(), optzoo.train.signals.StopRequest.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "StopRequest"]


def test_other_names_are_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("optzoo.catalogue")
