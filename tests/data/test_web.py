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
    ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if not self.path.startswith("/a.json.gz"):
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
        if self.server.tells_length or wanted:
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
    assert len([r for r in server.ranges if r]) == web.ATTEMPTS - 1


def test_too_many_breaks_are_one_error(server: Server, tmp_path: Path) -> None:
    server.faults = 99
    with pytest.raises(optzoo.RunError, match="cannot be read: the connection ended too soon"):
        run(f"{server.url}/a.json.gz", tmp_path / "out")


def test_what_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match=r"b\.json.gz`: 404 Not Found"):
        run(f"{server.url}/b.json.gz", tmp_path / "out")
    with pytest.raises(optzoo.InputError, match="of no format that optzoo reads"):
        find_files([f"{server.url}/page.html"], "train")
