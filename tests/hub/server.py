"""A server on loopback that answers as the Hugging Face hub does: commits, trees, redirects to
another address, ranges, large files by their digests, keys, and transfers that break off."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = "hf_test"
LARGE = 4096  # bytes from which a file is kept by its digest
KIND, CODE = "application/json", "X-Error-Code"


@dataclass
class Repository:
    """Commits in order, each a whole tree; branches name commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(files.items()):
            digest.update(name.encode() + hashlib.sha256(content).digest())
        sha = digest.hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def resolved(self, revision: str) -> str | None:
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server holds, and what it was asked. `store` is another name of the same server, as
    large files of the hub come from another host. `broken` counts the transfers that it still
    breaks off in the middle."""

    address: str = ""
    store: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    broken: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range


class Answers(http.server.BaseHTTPRequestHandler):
    """One request. `hub` is set by `serving`."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Nothing: the tests look at `Hub.requests`."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, data: object) -> None:
        self.answer(200, json.dumps(data).encode(), Content_Type=KIND)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code, Content_Type=KIND)

    def allowed(self, name: str) -> Repository | None:
        """The repository, or None after a refusal."""
        found = self.hub.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not known):
            self.refuse(401, "RepoNotFound")
            return None
        if found.gated and not known:
            self.refuse(403, "GatedRepo")
            return None
        return found

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        if match := re.fullmatch(r"/large/(\w+)", path):
            self.send_content(self.hub.large[match[1]])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self.describe(match[1], match[2], match[3] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(match[1], match[2], match[3])
        else:
            self.refuse(404, "EntryNotFound")

    def describe(self, name: str, what: str | None, revision: str) -> None:
        if (found := self.allowed(name)) is None:
            return
        if (sha := found.resolved(revision)) is None:
            self.refuse(404, "RevisionNotFound")
            return
        files = found.commits[sha]
        if what == "tree":
            self.json([tree_entry(path, content) for path, content in files.items()])
        else:
            siblings = [{"rfilename": path} for path in files]
            self.json({"id": name, "sha": sha, "siblings": siblings, "private": found.private})

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (found := self.allowed(name)) is None:
            return
        sha = found.resolved(revision)
        if sha is None or path not in found.commits[sha]:
            self.refuse(404, "RevisionNotFound" if sha is None else "EntryNotFound")
            return
        content = found.commits[sha][path]
        digest = hashlib.sha256(content).hexdigest()
        if len(content) < LARGE:
            self.send_content(content, X_Repo_Commit=sha, ETag=f'"{digest[:40]}"')
            return
        self.hub.large[digest] = content
        self.answer(
            302, Location=f"{self.hub.store}/large/{digest}", X_Repo_Commit=sha,
            X_Linked_Etag=f'"{digest}"', X_Linked_Size=str(len(content)), ETag=f'"{digest}"',
        )  # fmt: skip

    def send_content(self, content: bytes, **headers: str) -> None:
        """The whole file, or the range that is asked for; or half of it, and the line is cut."""
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(match[1])
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and self.hub.broken and len(content) >= LARGE:
            self.hub.broken -= 1
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.close_connection = True
            return
        self.answer(206 if start else 200, content[start:], **headers)

    def do_POST(self) -> None:
        path, body = urllib.parse.urlparse(self.path).path, self.body()
        self.hub.requests.append((self.command, path, ""))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401, "")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            # `private` before huggingface_hub 1
            private = asked.get("private", asked.get("visibility") == "private")
            if name not in self.hub.repositories:
                self.hub.repositories[name] = Repository(bool(private))
                self.hub.repositories[name].commit({".gitattributes": b""})
            self.json({"url": f"{self.hub.address}/{name}", "name": name})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/.+", path):
            self.json({"files": [upload_mode(file) for file in json.loads(body)["files"]]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            self.json({"transfer": "basic", "objects": [self.upload(each) for each in objects]})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self.commit(match[1], match[2], [json.loads(line) for line in body.splitlines()])
        else:
            self.json({})

    def upload(self, asked: dict[str, object]) -> dict[str, object]:
        """Where to put a large file; nowhere, where the hub has it."""
        oid = str(asked["oid"])
        put = {"upload": {"href": f"{self.hub.store}/large/{oid}"}}
        return asked | ({} if oid in self.hub.large else {"actions": put})

    def do_PUT(self) -> None:
        self.hub.requests.append((self.command, self.path, ""))
        content = self.body()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self.answer(200)

    def commit(self, name: str, branch: str, lines: list[dict[str, dict[str, str]]]) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.commits.get(repository.branches.get(branch, ""), {}))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        sha = repository.commit(files, branch)
        self.json({"commitUrl": f"{self.hub.address}/{name}/commit/{sha}", "commitOid": sha})


def tree_entry(path: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": digest[:40]}
    if len(content) < LARGE:
        return entry
    return entry | {"lfs": {"oid": digest, "size": len(content), "pointerSize": 134}}


def upload_mode(file: dict[str, object]) -> dict[str, object]:
    mode = "lfs" if int(str(file["size"])) >= LARGE else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub on loopback, empty."""
    hub = Hub()
    handler = type("Handler", (Answers,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    hub.store = f"http://localhost:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
