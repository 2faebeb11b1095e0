"""Files on a web server: connections that break are taken up again, a few times."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import c4_lines

import optzoo
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation import web
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.preparation.sources import find_files

TEXTS = [f"document {i} {i * 7919 % 1009}" for i in range(400)]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    data = gzip.compress(c4_lines(TEXTS))
    faults = 0  # how many answers break off half-way
    tag: str | None = '"1"'
    serves_ranges = tells_length = True
    next_data: bytes | None = None  # what there is after the first fault
    next_tag: str | None = None
    ranges: list[tuple[str | None, str | None]] = []
    target = ""
    length: str | None = None  # what is said instead of the length

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append((wanted, self.headers.get("If-Range")))
        if self.path == "/moved.json":
            self.send_response(302)
            self.send_header("Location", self.server.target)
            return self.end_headers()
        if not self.path.startswith("/a."):
            return self.send_error(404)
        data, tag = self.server.data, self.server.tag
        condition = self.headers.get("If-Range", tag)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if condition != tag or not self.server.serves_ranges:
            wanted, start = None, 0
        if wanted and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        part = data[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.length is not None and not wanted:
            self.send_header("Content-Length", self.server.length)
        elif self.server.tells_length or wanted:
            self.send_header("Content-Length", str(len(part)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if self.server.faults:
            self.server.faults -= 1
            part = part[: len(part) // 2]
            self.server.data = self.server.next_data or data
            self.server.tag = self.server.next_tag or tag
        self.wfile.write(part)
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(url: str, out: Path) -> Any:
    validation = out.with_name("v.txt")
    validation.write_text("held out")
    request = Request((url,), validation=(str(validation),))
    return prepare(request, out, quiet=True).manifest


def test_a_file_arrives_whole_though_connections_break(server: Server, tmp_path: Path) -> None:
    good = run(f"{server.url}/a.json.gz?download=1", tmp_path / "good")
    server.faults = web.ATTEMPTS - 1
    broken = run(f"{server.url}/a.json.gz", tmp_path / "broken")
    assert good.fingerprint == broken.fingerprint
    assert good.train.documents == len(TEXTS)
    assert [tag for wanted, tag in server.ranges if wanted] == ['"1"'] * (web.ATTEMPTS - 1)


def test_too_many_breaks_are_one_error(server: Server, tmp_path: Path) -> None:
    server.faults = 99
    with pytest.raises(optzoo.RunError, match="cannot be read: the connection ended too soon"):
        run(f"{server.url}/a.json.gz", tmp_path / "out")


def test_what_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match=r"b\.json.gz`: 404 Not Found"):
        run(f"{server.url}/b.json.gz", tmp_path / "out")
    with pytest.raises(optzoo.InputError, match="of no format that optzoo reads"):
        find_files([f"{server.url}/page.html"], "train")


def test_a_server_without_ranges_sends_it_again(server: Server, tmp_path: Path) -> None:
    good = run(f"{server.url}/a.json.gz", tmp_path / "good")
    server.serves_ranges, server.faults = False, 1
    assert run(f"{server.url}/a.json.gz", tmp_path / "out").fingerprint == good.fingerprint
    server.tag, server.faults = None, 1  # nothing says that it is the same: the bytes do
    assert run(f"{server.url}/a.json.gz", tmp_path / "out2").fingerprint == good.fingerprint
    assert all(wanted is None or tag for wanted, tag in server.ranges)


@pytest.mark.parametrize("tag", [None, '"1"', 'W/"1"'])
@pytest.mark.parametrize("next_tag", [None, '"2"'])
def test_a_file_that_changes_while_it_is_read(
    tag: str | None, next_tag: str | None, server: Server, tmp_path: Path
) -> None:
    """Of the same length; where no tag says so, the beginning does."""
    server.data = c4_lines(TEXTS)
    server.next_data = c4_lines([text.replace("document", "another_") for text in TEXTS])
    server.tag, server.next_tag, server.faults = tag, next_tag, 1
    if tag == '"1"' and next_tag is None:
        server.next_tag = '"2"'
    with pytest.raises(optzoo.InputError, match="changed since a part of it was read"):
        run(f"{server.url}/a.json", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_body_without_a_length_ends_where_the_server_has_no_more(
    server: Server, tmp_path: Path
) -> None:
    server.data, server.tells_length = c4_lines(TEXTS), False
    good = run(f"{server.url}/a.json", tmp_path / "good")
    assert good.train.documents == len(TEXTS)
    server.faults = 1
    assert run(f"{server.url}/a.json", tmp_path / "out").fingerprint == good.fingerprint
    server.serves_ranges, server.faults = False, 1
    with pytest.raises(optzoo.RunError, match="does not say how long the file is"):
        run(f"{server.url}/a.json", tmp_path / "out2")


@pytest.mark.parametrize("length", ["abc", "-5", ""])
def test_a_length_that_is_no_number_is_none(length: str, server: Server, tmp_path: Path) -> None:
    server.data, server.length = c4_lines(TEXTS), length
    assert run(f"{server.url}/a.json", tmp_path / "good").train.documents == len(TEXTS)


def prepare_in_parts(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """Stop after the first shard of a file of the web."""
    (out.parent / "v.txt").write_text("held out")
    urls = (f"{server.url}/a.json", f"{server.url}/a.json?again")
    request = Request(urls, validation=(str(out.parent / "v.txt"),), shard_tokens=6000)
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if target.name == "train-00002.tokens":
            raise KeyboardInterrupt
        return replace(self, target)

    server.data = c4_lines(TEXTS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            prepare(request, out, quiet=True)
    assert len(list(out.glob("train-*.tokens"))) == 2
    return request


@pytest.mark.parametrize("what", ["tag", "beginning", "nothing"])
def test_a_file_that_changes_between_two_runs(
    what: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second shard ends in the second of two files."""
    request = prepare_in_parts(server, tmp_path / "out", monkeypatch)
    if what == "tag":
        server.tag = '"2"'
    if what == "beginning":
        server.data = server.data.replace(b"document", b"another_")
    if what != "nothing":
        with pytest.raises(optzoo.InputError, match="changed since"):
            prepare(request, tmp_path / "out", quiet=True)
        return
    prepare(request, tmp_path / "out", quiet=True)
    whole = prepare(request, tmp_path / "whole", quiet=True)
    assert read_manifest(tmp_path / "out") == whole.manifest
    identities = [file["identity"] for file in whole.manifest.train.files]
    assert identities == ['etag:"1"'] * 2
    assert prepare(request, tmp_path / "out", quiet=True).already
    server.tag = '"2"'
    with pytest.raises(optzoo.InputError, match=r"changed since `.*out` was made"):
        prepare(request, tmp_path / "out", quiet=True)
    server.shutdown()
    server.server_close()
    assert prepare(request, tmp_path / "out", quiet=True).already  # nothing can be asked


@pytest.mark.parametrize("target", ["ftp://127.0.0.1:1/a.json", "file:///etc/passwd", "gopher://x"])
def test_an_address_that_leads_off_the_web(target: str, server: Server, tmp_path: Path) -> None:
    server.target = target
    with pytest.raises(optzoo.InputError, match=r"/moved\.json`") as caught:
        run(f"{server.url}/moved.json", tmp_path / "out")
    assert str(caught.value).count("error") == 1
    server.target = f"{server.url}/a.json"
    server.data = c4_lines(TEXTS)
    assert run(f"{server.url}/moved.json", tmp_path / "out").train.documents == len(TEXTS)


@pytest.mark.parametrize("address", ["http://", "http:///a.json", "http://127.0.0.1:port/a.json"])
def test_an_address_that_is_none(address: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises((optzoo.InputError, optzoo.RunError)):
        run(address if address.endswith(".json") else address + "/a.json", tmp_path / "out")


def test_a_table_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    server.data = ("text\n" + "\n".join(TEXTS)).encode()
    server.faults = 1
    assert run(f"{server.url}/a.csv", tmp_path / "out").train.documents == len(TEXTS)
