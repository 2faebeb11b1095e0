"""The hub, spoken to as it is in life but on the loopback: each run is a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import COMMIT, c4_files, hub

from optzoo.data.manifest import read_manifest
from optzoo.data.prepared import open_tokens

TRAIN = [[f"shard {i}, document {j}: à {'words ' * j}" for j in range(40)] for i in range(4)]
VALIDATION = [[f"held out {i} {j}" for j in range(5)] for i in range(2)]
C4 = c4_files(TRAIN, VALIDATION)


def prepare(endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Prepare data from a hub at `endpoint`, with caches of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    proxies = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    return subprocess.run(
        [sys.executable, "-m", "optzoo", "data", "prepare", "--quiet", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **inherited,
            **proxies,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
        },
    )


def joined(shards: list[list[str]], documents: int | None = None) -> list[int]:
    texts = [text for shard in shards for text in shard][:documents]
    return [256, *(token for text in texts for token in [*text.encode(), 256])]


def tokens(folder: Path, split: str) -> list[int]:
    manifest = read_manifest(folder)
    row = open_tokens(folder, getattr(manifest, split), manifest)
    return [int(token) for token in row[np.arange(len(row))]]


def test_c4_streams_and_only_what_is_needed_is_asked_for(tmp_path: Path) -> None:
    """50 documents are in the first two files; the official split is validated on."""
    out = tmp_path / "c4"
    with hub({"allenai/c4": C4}) as server:
        done = prepare(
            server.url,
            tmp_path,
            *("hub:allenai/c4:en", "--validation", "hub:allenai/c4:en:validation"),
            *("--max-documents", "50", "--out", str(out)),
        )
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(out)
    assert tokens(out, "train") == joined(TRAIN, 50)
    assert tokens(out, "validation") == joined(VALIDATION)
    data = {path for path in server.fetched if path.endswith(".gz")}
    assert data == {
        "en/c4-train.00000-of-00004.json.gz",
        "en/c4-train.00001-of-00004.json.gz",
        *(path for path in C4 if "validation" in path),
    }
    first = manifest.train.files[0]
    assert first["name"] == f"hub:allenai/c4@{COMMIT}/en/c4-train.00000-of-00004.json.gz"
    assert first["bytes"] == len(C4["en/c4-train.00000-of-00004.json.gz"])


def test_a_lost_connection_keeps_what_is_finished_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "c4"
    options = ("hub:allenai/c4:en", "--shard-tokens", "4000")
    broken = "en/c4-train.00003-of-00004.json.gz"
    with hub({"allenai/c4": C4}) as server:
        server.cut.add(broken)
        stopped = prepare(server.url, tmp_path, *options, "--out", str(out))
        kept = sorted(path.name for path in out.glob("train-*.tokens"))
        server.cut.clear()
        server.fetched.clear()
        again = prepare(server.url, tmp_path, *options, "--out", str(out))
        fetched = set(server.fetched)
    assert stopped.returncode == 1
    assert f"{broken}`" in stopped.stderr
    assert "give the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert len(kept) >= 3
    assert again.returncode == 0, again.stderr
    assert "en/c4-train.00000-of-00004.json.gz" not in fetched
    assert read_manifest(out).validation_from == "official split"
    assert tokens(out, "train") == joined(TRAIN)
    assert tokens(out, "validation") == joined(VALIDATION)


def test_what_the_hub_does_not_have(tmp_path: Path) -> None:
    with hub({"allenai/c4": C4}) as server:
        cases = {
            "hub:allenai/c5:en": "is not on the hub",
            "hub:allenai/c4:fr": "BuilderConfig 'fr' not found",
        }
        for source, message in cases.items():
            done = prepare(server.url, tmp_path, source, "--out", str(tmp_path / "c4"))
            assert done.returncode == 2, done.stderr
            assert message in done.stderr
            assert "Traceback" not in done.stderr


def test_a_hub_that_cannot_be_reached_is_one_error_with_what_helps(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = prepare(url, tmp_path, "hub:allenai/c4:en", "--out", str(tmp_path / "c4"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: `hub:allenai/c4:en`: the hub at {url} cannot be reached")
    for word in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "hf download", "embedded corpus"):
        assert word in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "c4" / "manifest.json").exists()


def test_a_tokenizer_by_hub_name(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    from tiny_tokenizer import tokenizer_json

    (tmp_path / "a.txt").write_text("words and more words")
    (tmp_path / "b.txt").write_text("held out")
    files = {"tokenizer.json": tokenizer_json()}
    arguments = (str(tmp_path / "a.txt"), "--validation", str(tmp_path / "b.txt"))
    with hub({}, {"openai-community/gpt2": files}) as server:
        done = prepare(
            server.url, tmp_path, *arguments, "--tokenizer", "gpt2", "--out", str(tmp_path / "out")
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    assert read_manifest(tmp_path / "out").tokenizer.name == "gpt2"
