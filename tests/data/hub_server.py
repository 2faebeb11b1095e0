"""A server on the loopback that speaks as much of the hub's API as reading a data set takes."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
README = """---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/c4-train.*.json.gz
  - split: validation
    path: en/c4-validation.*.json.gz
---
"""


def c4_lines(texts: list[str]) -> bytes:
    records = (
        {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": f"https://example.org/{i}"}
        for i, text in enumerate(texts)
    )
    return b"".join(
        json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for record in records
    )


def c4_files(train: list[list[str]], validation: list[list[str]]) -> dict[str, bytes]:
    """Return a repository in C4's layout: path -> content."""
    files = {"README.md": README.encode()}
    for name, shards in (("train", train), ("validation", validation)):
        for i, texts in enumerate(shards):
            path = f"en/c4-{name}.{i:05d}-of-{len(shards):05d}.json.gz"
            files[path] = gzip.compress(c4_lines(texts), mtime=0)
    return files


class HubServer(ThreadingHTTPServer):
    """`data` and `models` map repositories to files; what is in `cut` breaks off half-way."""

    daemon_threads = True

    def __init__(self, data: dict[str, dict[str, bytes]], models: dict[str, dict[str, bytes]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.models = data, models
        self.cut: set[str] = set()
        self.fetched: list[str] = []  # paths of files that were asked for by GET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        for kind, repositories in (("datasets", self.server.data), ("models", self.server.models)):
            for name, files in repositories.items():
                place = f"{kind}/{name}" if kind == "datasets" else name
                for revision in ("main", COMMIT):
                    prefix = f"{place}/resolve/{revision}/"
                    if path.startswith(prefix):
                        return self.resolve(files, path.removeprefix(prefix), body)
                if path in (f"api/{kind}/{name}", *self.revisions(kind, name)):
                    return self.send(200, self.describe(name, files), body)
                tree = f"api/{kind}/{name}/tree/{COMMIT}"
                if path == tree or path.startswith(tree + "/"):
                    folder = path.removeprefix(tree).strip("/")
                    return self.send(200, self.tree(files, folder), body)
        return self.send(404, {"error": "not found"}, body, {"X-Error-Code": "RepoNotFound"})

    def revisions(self, kind: str, name: str) -> list[str]:
        return [f"api/{kind}/{name}/revision/{revision}" for revision in ("main", COMMIT)]

    def describe(self, name: str, files: dict[str, bytes]) -> dict[str, Any]:
        return {
            "_id": "1",
            "id": name,
            "author": name.split("/")[0],
            "sha": COMMIT,
            "lastModified": "2024-01-09T19:14:03.000Z",
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in files],
        }

    def tree(self, files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for path, data in files.items():
            parent, _, _ = path.rpartition("/")
            if parent == folder:
                entries[path] = {"type": "file", "path": path, "size": len(data), "oid": oid(data)}
            elif parent.startswith(folder):
                entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40, "size": 0}
        return list(entries.values())

    def resolve(self, files: dict[str, bytes], path: str, body: bool) -> None:
        data = files.get(path)
        if data is None:
            return self.send(404, {"error": "no"}, body, {"X-Error-Code": "EntryNotFound"})
        if body:
            self.server.fetched.append(path)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{oid(data)}"', "Accept-Ranges": "bytes"}
        start, stop, status = 0, len(data), 200
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(int(last or len(data) - 1) + 1, len(data)), 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        part = data[start:stop]
        cut = path in self.server.cut
        return self.send(status, part, body, headers, part[: len(part) // 2] if cut else None)

    def send(
        self,
        status: int,
        content: Any,
        body: bool,
        headers: dict[str, str] | None = None,
        instead: bytes | None = None,
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data if instead is None else instead)
        if instead is not None:
            self.close_connection = True


def oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub(
    data: dict[str, dict[str, bytes]], models: dict[str, dict[str, bytes]] | None = None
) -> Iterator[HubServer]:
    with HubServer(data, models or {}) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
