"""A recipe is made once while its files stay as they are, and anew when one of them changes."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
from pathlib import Path

import pytest

import optzoo

CHILD = "name: child\nversion: 2\nsummary: a child\nreference: none\nextends: ./parent.yaml\n"
PARENT = """
name: parent
version: 1
summary: a parent
reference: none
hyperparameters: {lr: {default: 0.1, in: "[0, inf)", doc: learning rate}}
update: {mix: {grad: 1}}
"""


@pytest.fixture
def child(tmp_path: Path) -> Path:
    (tmp_path / "parent.yaml").write_text(PARENT)
    path = tmp_path / "child.yaml"
    path.write_text(CHILD)
    return path


def lr_of(path: Path | str) -> object:
    return optzoo.load_recipe(path).hyperparameters["lr"].default


def test_the_same_files_give_the_same_recipe(child: Path) -> None:
    assert optzoo.load_recipe(child) is optzoo.load_recipe(child)
    assert optzoo.load_recipe("muon") is optzoo.load_recipe("muon")
    recipe = optzoo.load_recipe("muon").with_overrides({"lr": 0.5})
    assert recipe is optzoo.load_recipe("muon").with_overrides({"lr": "0.5"})
    assert recipe.hyperparameters["lr"].default == 0.5
    assert optzoo.load_recipe("muon").hyperparameters["lr"].default == 0.02


def test_a_file_that_is_edited_counts_whatever_its_time_and_size(child: Path) -> None:
    assert lr_of(child) == 0.1
    parent = child.with_name("parent.yaml")
    before = parent.stat()
    parent.write_text(PARENT.replace("0.1", "0.2"))
    os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lr_of(child) == 0.2
    child.write_text(CHILD + "hyperparameters: {lr: {default: 0.3}}\n")
    assert lr_of(child) == 0.3
    child.write_text(CHILD)
    assert lr_of(child) == 0.2


def test_what_has_become_wrong_or_is_gone_is_an_error(child: Path) -> None:
    assert lr_of(child) == 0.1
    child.with_name("parent.yaml").write_text("name: [")
    with pytest.raises(optzoo.InputError, match="not valid YAML"):
        optzoo.load_recipe(child)
    child.with_name("parent.yaml").unlink()
    with pytest.raises(optzoo.InputError):
        optzoo.load_recipe(child)


def test_a_path_is_of_the_folder_it_is_read_in(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "child.yaml").write_text(CHILD)
    (other / "parent.yaml").write_text(PARENT.replace("0.1", "0.7"))
    monkeypatch.chdir(tmp_path)
    assert lr_of("child.yaml") == 0.1
    monkeypatch.chdir(other)
    assert lr_of("child.yaml") == 0.7


def test_copies_carry_the_recipe_and_not_what_was_made_of_it() -> None:
    recipe = optzoo.load_recipe("adamw").with_overrides({"beta1": 0.5})
    recipe.with_overrides({"lr": 0.1}).trained_program()
    assert copy.deepcopy(recipe) is recipe
    fields = {field.name for field in dataclasses.fields(recipe)}
    assert vars(recipe).keys() > fields
    again = pickle.loads(pickle.dumps(recipe))
    assert vars(again).keys() == fields
    assert (again, again.digest) == (recipe, recipe.digest)
