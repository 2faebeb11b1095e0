"""`extends`: what is merged, where its mistakes are shown, and what a child may not do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import optzoo
from optzoo.files.shipped import shipped

HEAD = "name: mine\nversion: 2\nsummary: a child\nreference: none\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def child(folder: Path, text: str, parent: str = "adamw") -> optzoo.Recipe:
    return optzoo.load_recipe(write(folder, "mine", f"{HEAD}extends: {parent}\n{text}"))


def fails(folder: Path, text: str, parent: str = "adamw") -> str:
    with pytest.raises(optzoo.InputError) as caught:
        child(folder, text, parent)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped())
def test_a_child_that_changes_nothing_is_its_parent(name: str, tmp_path: Path) -> None:
    parent = optzoo.load_recipe(name)
    mine = optzoo.load_recipe(
        write(tmp_path, "mine", f"name: {name}\nversion: 2\nextends: {name}\n")
    )
    assert mine.spec.notes == parent.spec.notes
    text = mine.identity()
    if parent.spec.version == 1:
        # what version 1 calls as version 2 calls something else has another name; what is one
        # number is kept as one
        text = re.sub(r"\bsize_", "size", text).replace(" : 1 x 1,", " : tensor,")
    assert text.split() == parent.identity().split()
    if text == mine.identity():
        assert mine.digest == parent.digest


def test_sections_are_merged_key_by_key(tmp_path: Path) -> None:
    mine = child(
        tmp_path,
        "hyperparameters:\n"
        "  eps: {default: 1e-6}\n"
        '  a: {default: 2, in: "[0, inf)", doc: weight}\n'
        "buffers:\n"
        "  m: {gain: 1}\n"
        "  slow: {input: grad, decay: 0.999, gain: 0.001}\n"
        "update: {mix: {m: k, slow: a}}\n"
        "weight_decay: null\n",
    )
    assert list(mine.hyperparameters) == ["lr", "beta1", "beta2", "eps", "weight_decay", "a"]
    eps = mine.hyperparameters["eps"]
    assert (eps.default, str(eps.interval), eps.doc) == (
        1e-6,
        "(0, inf)",
        "added after the square root",
    )
    lines = mine.program().text().splitlines()
    assert "  step     m     := beta1*m.prev + grad" in lines
    assert "           u     := (k*m + a*slow)/(sqrt(v_debias*v) + eps)" in lines
    assert "           param := param.prev - lr*u" in lines


def test_a_mix_and_a_preconditioner_are_replaced_whole(tmp_path: Path) -> None:
    mine = child(
        tmp_path,
        "preconditioner: {sign: true}\nupdate: {mix: {grad: 1}}\nscalars: {k: null}\n"
        "buffers: {m: null}\n",
    )
    assert "u     := sign(grad)" in mine.program().text()
    assert mine.document.data["preconditioner"] == {"sign": True}


def test_a_scalar_is_replaced_whole(tmp_path: Path) -> None:
    mine = child(tmp_path, "scalars: {weight_sum: {product: weight}}\n", "schedule_free_adamw")
    assert "weight_sum := weight_sum.prev*weight" in mine.program().text()


def test_parents_have_parents_and_paths_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(
        tmp_path / "other",
        "base",
        "name: base\nversion: 2\nextends: adamw\nhyperparameters: {eps: {default: 1e-5}}\n",
    )
    write(tmp_path, "middle", "name: middle\nversion: 2\nextends: other/base.yaml\nsummary: mid\n")
    mine = child(tmp_path, "hyperparameters: {beta1: {default: 0.8}}\n", "middle.yaml")
    knobs = mine.hyperparameters
    assert (knobs["eps"].default, knobs["beta1"].default) == (1e-5, 0.8)
    assert (mine.name, mine.spec.summary) == ("mine", "a child")


def test_the_file_is_shown_and_what_it_comes_to_is_written(tmp_path: Path) -> None:
    mine = child(tmp_path, "hyperparameters: {eps: {default: 1e-6}}  # larger\n")
    assert mine.text == (tmp_path / "mine.yaml").read_text()
    whole = mine.to_yaml()
    assert "extends" not in whole
    assert list(yaml.safe_load(whole))[:3] == ["name", "title", "version"]
    again = optzoo.parse_recipe(whole)
    assert again.digest == mine.digest
    assert again.document.data == mine.document.data


# ------------------------------------------------------------------ the parent's direction


def lines_of(recipe: optzoo.Recipe) -> list[str]:
    return [str(line) for line in recipe.program().step]


def test_an_update_that_reads_direction_filters_the_parents(tmp_path: Path) -> None:
    mine = child(
        tmp_path,
        "weight_decay: null\n"
        "signals: {u: direction + weight_decay*param}\n"
        "update: norm(param)/(norm(u) + 1e-9)*u\n",
    )
    assert lines_of(mine)[2:] == [
        "direction := k*m/(sqrt(v_debias*v) + eps)",
        "u := direction + weight_decay*param.prev",
        "u_ := norm(param.prev)/(norm(u) + 1e-09)*u",
        "param := param.prev - lr*u_",
    ]


def test_direction_is_what_the_parent_would_step_by_but_for_its_scale(tmp_path: Path) -> None:
    write(
        tmp_path,
        "scaled",
        "name: scaled\nversion: 2\nsummary: s\nreference: r\n"
        'hyperparameters: {a: {default: 1, in: "[0, 9]", doc: rate}}\n'
        "update: {mix: {grad: 2}, scale: a/t, clip_value: 3}\n",
    )
    expected = [
        "direction := max(-3, min(3, 2*grad))",
        "u := sign(direction)",
        "param := param.prev - a/t*u",
    ]
    assert lines_of(child(tmp_path, "update: sign(direction)\n", "scaled.yaml")) == expected
    scaled = child(tmp_path, "update: {mix: sign(direction)}\n", "scaled.yaml")
    assert lines_of(scaled) == expected
    own = child(tmp_path, "update: {mix: sign(direction), scale: lr}\n", "scaled.yaml")
    assert lines_of(own)[-1] == "param := param.prev - lr*u"


def test_a_filter_of_a_filter_reads_what_that_gives(tmp_path: Path) -> None:
    write(
        tmp_path,
        "once",
        "name: once\nversion: 2\nextends: sgd\nsignals: {twice: 2*direction}\n"
        "update: {mix: {twice: 3}, clip_norm: 1}\n",
    )
    write(tmp_path, "thrice", "name: thrice\nversion: 2\nextends: once.yaml\nupdate: 5*direction\n")
    mine = child(tmp_path, "update: 7*direction + grad\n", "thrice.yaml")
    assert lines_of(mine)[1:] == [
        "direction := g",
        "twice := 2*direction",
        "filtered1_raw := 3*twice",
        "filtered1 := filtered1_raw/max(1, norm(filtered1_raw))",
        "filtered2 := 5*filtered1",
        "u := 7*filtered2 + g",
        "param := param.prev - lr*u",
    ]


def test_a_mistake_beside_a_renamed_direction_has_its_caret(tmp_path: Path) -> None:
    write(tmp_path, "once", "name: once\nversion: 2\nextends: sgd\nupdate: 2*direction\n")
    text = fails(tmp_path, "update: direction + oops\n", "once.yaml")
    assert "mine.yaml:6:21: `oops` is not a hyperparameter" in text
    assert "update: direction + oops\n      |                     ^^^^" in text


def test_moved_is_the_point_after_the_step_and_point_replaces_it(tmp_path: Path) -> None:
    mine = child(
        tmp_path,
        "buffers:\n"
        "  slow: {input: slow.prev + 0.5*(moved - slow.prev), decay: 0, gain: 1, init: param}\n"
        "point: 0.5*moved + 0.5*slow\n",
        "sgd_nesterov",
    )
    assert lines_of(mine)[-3:] == [
        "moved := param.prev - lr*u",
        "slow := 0*slow.prev + (slow.prev + 0.5*(moved - slow.prev))",
        "param := 0.5*moved + 0.5*slow",
    ]


def test_a_point_may_be_refreshed_at_some_steps(tmp_path: Path) -> None:
    mine = child(
        tmp_path,
        'hyperparameters: {fast: {default: 5, in: "[1, inf)", doc: steps}}\n'
        "buffers:\n"
        "  slow: {init: param, refresh: {every: fast, input: 0.5*slow.prev + 0.5*moved}}\n"
        "point: {input: moved, refresh: {every: fast, input: slow}}\n",
        "sgd",
    )
    assert lines_of(mine)[-3:] == [
        "moved := param.prev - lr*g",
        "slow := where(mod(t, fast) == 0, 0.5*slow.prev + 0.5*moved, slow.prev)",
        "param := where(mod(t, fast) == 0, slow, moved)",
    ]


# ------------------------------------------------------------------ mistakes


def test_a_mistake_of_the_parent_is_shown_in_its_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base",
        "name: base\nversion: 1\nsummary: s\nreference: r\nhyperparameters: {}\n"
        "update: grad + nn\n",
    )
    text = fails(tmp_path, "", "base.yaml")
    assert text.startswith(f"error: {tmp_path}/base.yaml:6:16: `nn` is not a hyperparameter")


def test_a_mistake_of_the_child_is_shown_in_its_own(tmp_path: Path) -> None:
    text = fails(tmp_path, "buffers:\n  m: {decay: beta_1}\nupdate: {mix: {m: kk}}\n")
    assert f"{tmp_path}/mine.yaml:7:14: `beta_1` is not a hyperparameter" in text
    assert f"{tmp_path}/mine.yaml:8:19: `kk` is not a hyperparameter" in text
    text = fails(tmp_path, "updat: grad\n")
    assert f"{tmp_path}/mine.yaml:6:1: `updat` is not a key of the file" in text
    text = fails(tmp_path, "preconditioner: {rms: {eps: 1e-6}}\n")
    assert f"{tmp_path}/mine.yaml:6:18: `preconditioner.rms` lacks the key `decay`" in text


def test_a_name_has_one_meaning(tmp_path: Path) -> None:
    where = shipped()["adamw"]
    text = fails(tmp_path, 'hyperparameters: {k: {default: 5, in: "[1, 9]", doc: steps}}\n')
    assert text == (
        f"error: {tmp_path}/mine.yaml:6:19: `k` would be a hyperparameter, and is a scalar of "
        f"adamw ({where}:15:3)\n"
        '    6 | hyperparameters: {k: {default: 5, in: "[1, 9]", doc: steps}}\n'
        "      |                   ^\n\n"
        "hint: give it another name: one name has one meaning; or take the other away, "
        "`scalars: {k: null}`"
    )
    text = fails(tmp_path, "buffers: {v: {input: grad, decay: 0, gain: 1}}\n")
    assert "`v` would be a buffer, and is a buffer of `preconditioner` of adamw" in text
    text = fails(tmp_path, "scalars: {moved: lr}\n")
    assert "`moved` has a fixed meaning and cannot be redefined" in text
    mine = child(
        tmp_path,
        'hyperparameters: {k: {default: 5, in: "[1, 9]", doc: steps}}\n'
        "scalars: {k: null}\nupdate: {mix: {m: k}}\n",
    )
    assert mine.hyperparameters["k"].default == 5


def test_what_is_removed_must_be_there_and_no_longer_read(tmp_path: Path) -> None:
    text = fails(tmp_path, "buffers: {mm: null}\n")
    assert "`mm` is no buffer of adamw: there is nothing to remove" in text
    assert text.endswith("hint: did you mean `m`?")
    text = fails(tmp_path, "hyperparameters: {beta1: null}\n")
    where = shipped()["adamw"]
    assert f"mine.yaml:6:19: `beta1` is removed here, and {where}:15:6 still reads it" in text


def test_a_recipe_that_needs_itself_is_one_error(tmp_path: Path) -> None:
    write(tmp_path, "a", "name: a\nversion: 2\nextends: mine.yaml\n")
    text = fails(tmp_path, "", "a.yaml")
    assert (
        f"{tmp_path}/a.yaml:3:10: a recipe needs itself: mine.yaml -> a.yaml -> mine.yaml" in text
    )
    assert text.count("error:") == 1


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    write(tmp_path, "r0", "name: r0\nversion: 2\nextends: adamw\n")
    for i in range(1, 9):
        write(tmp_path, f"r{i}", f"name: r{i}\nversion: 2\nextends: r{i - 1}.yaml\n")
    assert optzoo.load_recipe(tmp_path / "r6.yaml").name == "r6"
    with pytest.raises(optzoo.InputError, match="more than 8 recipes need one another in a row"):
        optzoo.load_recipe(tmp_path / "r8.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: adamww\n", "mine.yaml:5:10: no recipe is called `adamww`"),
        ("extends: no/x.yaml\n", "mine.yaml:5:10: no such file: `"),
        ("extends: 3\n", "`extends`: expected text, not `3`"),
        ("hyperparameters: {}\nupdate: direction\n", "`direction` is not a hyperparameter"),
        ("extends: schedule_free_sgd\npoint: grad\n", "`averaging` has two of them"),
    ],
)
def test_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.load_recipe(write(tmp_path, "mine", HEAD + text))
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["extends: adamw", "routes: []", "parts: {}", "point: grad"])
def test_version_1_has_none_of_it(key: str) -> None:
    text = "name: mine\nversion: 1\nsummary: s\nreference: r\nhyperparameters: {}\nupdate: grad\n"
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.parse_recipe(text + key + "\n")
    word = key.partition(":")[0]
    expected = f"<recipe>:7:1: `{word}` needs `version: 2`, and this recipe has 1"
    assert expected in str(caught.value)


def test_names_of_version_1_give_way_to_words_of_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        "old",
        "name: old\nversion: 1\nsummary: s\nreference: r\n"
        'hyperparameters: {rows: {default: 2, in: "[1, 9]", doc: number of rows}}\n'
        "signals: {moved: rows*grad}\nupdate: {mix: {moved: 1}}\n",
    )
    mine = child(tmp_path, "update: direction*rows/rows_\n", "old.yaml")
    assert mine.hyperparameters["rows_"].doc == "number of rows"
    assert lines_of(mine)[:3] == [
        "moved_ := rows_*grad",
        "direction := moved_",
        "u := direction*rows/rows_",
    ]


def test_version_1_may_call_its_own_things_direction_and_moved() -> None:
    recipe = optzoo.parse_recipe(
        "name: mine\nversion: 1\nsummary: s\nreference: r\nhyperparameters: {}\n"
        "signals: {direction: 2*grad, moved: 3*direction}\nupdate: moved\n"
    )
    assert lines_of(recipe)[:2] == ["direction := 2*grad", "moved := 3*direction"]


def test_a_filter_of_a_scaled_update_is_at_fault_where_it_is_written(tmp_path: Path) -> None:
    """Also where the fault is in a rule that only a part of the parent makes."""
    text = "buffers: {q: {input: direction, decay: 0.9, gain: 0.1}}\nupdate: q.T\n"
    shown = fails(tmp_path, text, "adafactor")
    assert f"{tmp_path / 'mine.yaml'}:7:9: the step is a matrix of cols x rows" in shown
