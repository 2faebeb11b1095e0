"""Training on prepared data: the same batches for any world, losses per byte, no other corpus."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Done, optzoo
from tiny_runs import ROOT

from optzoo.data.batches import Batches
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.prepared import describe, verify
from optzoo.errors import InputError
from optzoo.train.evaluate import HeldOut
from optzoo.train.experiment import open_data
from optzoo.train.session import evaluate_run
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.plan import describe_data
from optzoo.train.setup.schema import Setup, load_setup

Train = Callable[..., Done]


def write_documents(path: Path, number: int, word: str = "text") -> str:
    lines = (json.dumps({"text": f"{word} {i}: {'abc ' * (i % 13)}"}) for i in range(number))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    source = write_documents(place / "a.jsonl", 300)
    prepare(Request((source,), hold_out=5, shard_tokens=1000), place / "prepared", quiet=True)
    return place / "prepared"


def setup_for(folder: Path, **changes: str) -> Setup:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return override_setup(load_setup("quick"), {"data.path": str(folder), **named})


def test_blocks_cross_shards_and_ranks_divide_batches(folder: Path) -> None:
    corpus = open_data(setup_for(folder))
    row = corpus.train.tokens
    assert not isinstance(row, np.ndarray)
    assert len(list(folder.glob("train-*.tokens"))) > 4
    whole = row[np.arange(len(row))]
    stored = Batches(row, corpus.fingerprint, 3, 8, 64)
    in_memory = Batches(whole, corpus.fingerprint, 3, 8, 64)
    for step in (0, 5, 1000):
        rows = stored.rows(step)
        assert np.array_equal(rows, in_memory.rows(step))
        for world in (1, 2, 4):
            for rank in range(world):
                assert np.array_equal(stored.rows(step, rank, world), rows[rank::world])


def test_data_in_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    setup = override_setup(load_setup("quick"), {"data.path": "~/prepared"})
    expected = open_data(setup_for(folder)).fingerprint
    assert open_data(setup).fingerprint == expected
    assert open_data(setup.with_absolute_path()).fingerprint == expected
    assert describe_data(setup)["ready"]


@pytest.mark.parametrize("name", ["x" * 300, "~/" + "x" * 300])
def test_a_path_that_is_too_long_is_one_error(name: str) -> None:
    setup = override_setup(load_setup("quick"), {"data.path": name})
    for look in (open_data, describe_data):
        with pytest.raises(InputError, match="File name too long"):
            look(setup)


def test_the_bytes_of_an_evaluation_are_those_of_its_targets(folder: Path) -> None:
    corpus = open_data(setup_for(folder))
    for number in (3, 10**6):
        held_out = HeldOut(corpus, number, 16, rows=4)
        for i in range(held_out.num_batches):
            rows, size = held_out.batch(i)
            assert size == int((rows[:, 1:] != 256).sum())


def test_a_run_resumes_evaluates_and_refuses_other_data(
    folder: Path, tiny: Train, tmp_path: Path
) -> None:
    place, other = tmp_path / "prepared", tmp_path / "other"
    folder.rename(place)
    options = ("--set", f"data.path={place}", "--set", "checkpoint.every=5")
    assert tiny("run", *options, "--steps", "10").returncode == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["corpus"]["name"] == "prepared"
    loss = result["views"]["eval"]
    assert loss["bits_per_byte"] > loss["nats_per_token"] / math.log(2)  # separators have no bytes
    assert evaluate_run(tmp_path / "run")["views"]["eval"] == loss

    source = write_documents(tmp_path / "b.jsonl", 300, "other text")
    prepare(Request((source,), hold_out=5), other, quiet=True)
    place.rename(folder)
    with pytest.raises(InputError, match=f"there is no prepared data at {place}"):
        evaluate_run(tmp_path / "run")
    other.rename(place)
    with pytest.raises(InputError, match=r"(?s)was trained on .*put the data back"):
        evaluate_run(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    resumed = optzoo("train", "ademamix", "--resume", str(tmp_path / "run"))
    assert resumed.returncode == 2
    assert "was trained on" in resumed.stderr


def test_missing_data_says_how_to_make_it_and_nothing_else_is_read(tmp_path: Path) -> None:
    changes = {"data.source": "[hub:allenai/c4:en]", "data.tokenizer": "t5-base"}
    setup = override_setup(setup_for(tmp_path / "nowhere", budget__tokens="1000"), changes)
    with pytest.raises(InputError) as caught:
        open_data(setup)
    tokens = setup.num_steps * setup.batch.tokens + 1  # every block needs a token before it
    command = "optzoo data prepare hub:allenai/c4:en --tokenizer t5-base"
    expected = f"`{command} --max-tokens {tokens} --out {tmp_path / 'nowhere'}`"
    assert expected in str(caught.value)


def test_a_plan_knows_whether_the_data_is_there(folder: Path) -> None:
    there = describe_data(setup_for(folder, budget__steps="1"))
    assert (there["ready"], there["vocabulary"], there["command"]) == (True, 257, None)
    absent = describe_data(setup_for(folder / "nowhere", data__vocabulary="32100"))
    assert (absent["ready"], absent["vocabulary"]) == (False, 32100)
    assert absent["command"].startswith("optzoo data prepare SOURCE")


def test_another_vocabulary_is_refused(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"vocabulary of 257 \(`bytes`\), and setup `quick` is for"
    ):
        open_data(setup_for(folder, data__vocabulary="32100"))


def test_too_little_held_out_text_is_refused(folder: Path) -> None:
    corpus = open_data(setup_for(folder))
    with pytest.raises(InputError, match="the held-out text has"):
        HeldOut(corpus, 4, 10**6, rows=4)


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["bytes", "gpt2"])
def test_real_c4_goes_the_whole_way(tokenizer: str, tmp_path: Path, tiny: Train) -> None:
    """Prepare, train and evaluate on 1,000 records of C4, where they are at hand."""
    shared = Path(os.environ.get("OPTZOO_C4_SAMPLE", ROOT.parent / "shared" / "data"))
    if not (shared / "c4" / "en").is_dir():
        pytest.skip(f"real C4 sample absent: {shared}/c4 (or set OPTZOO_C4_SAMPLE)")
    name, bytes_per_token = "bytes", 1.0
    if tokenizer == "gpt2":
        pytest.importorskip("tokenizers")
        name = str(shared / "tokenizers" / "gpt2.json")
        bytes_per_token = 2_021_896 / 445_436  # counted by another program
    files = {kind: str(shared / f"c4/en/c4-{kind}.*.json.gz") for kind in ("train", "validation")}
    request = Request((files["train"],), name, validation=(files["validation"],))
    prepare(request, tmp_path / "c4", quiet=True)
    verify(tmp_path / "c4")
    shown = describe(tmp_path / "c4")
    train = shown["splits"]["train"]
    assert (train["documents"], train["bytes"]) == (900, 2_021_896)
    assert (train["tokens"] - 901) == round(2_021_896 / bytes_per_token)
    assert shown["splits"]["validation"]["documents"] == 100
    changes = ("--set", f"data.path={tmp_path / 'c4'}", "--steps", "30")
    run = tiny("run", *changes, recipe="adamw")
    assert run.returncode == 0, run.stderr
    loss = json.loads((tmp_path / "run" / "result.json").read_text())["views"]["eval"]
    assert loss["nats_per_token"] < math.log(shown["vocabulary"]) + 0.5
    ratio = loss["bits_per_byte"] * bytes_per_token / (loss["nats_per_token"] / math.log(2))
    assert 0.6 < ratio < 1.7  # four short windows: their own bytes per token
    assert evaluate_run(tmp_path / "run")["views"]["eval"] == loss
