"""Clients that mean harm or know no better: each is bounded, and the server answers the
next one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import nextomni_edge as ne
from tests.serve.running import KEY, Running, begin, get, server

REQUEST = "POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
MIB = 1 << 20


@pytest.fixture(scope="module")
def small(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with small bounds."""
    log = tmp_path_factory.mktemp("small") / "log"
    given = ("--max-body", 1, "--max-media", 0.01, "--connections", 200, "--queue", 4)
    with server(log, f"tiny={tiny_bundle}", *given) as started:
        yield started


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=60)


def answer_to(running: Running, head: str, body: bytes = b"") -> bytes:
    """What the server says to these bytes until it closes or is done."""
    with connect(running) as asked:
        asked.sendall(f"{head}\r\n".encode() + body)
        asked.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while more := asked.recv(65536):
                got += more
    return got


def post(
    running: Running, path: str, body: bytes, kind: str = "application/json"
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", running.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_a_body_of_10_gb_is_refused_before_it_is_read(small: Running) -> None:
    before = small.resident()
    said = answer_to(small, f"{REQUEST}Content-Length: {10 * 2**30}\r\n", b"x" * 100)
    assert said.startswith(b"HTTP/1.1 413") and b"the body is over 1 MiB" in said
    assert small.resident() - before < 8 * MIB


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_long(small: Running) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    said = answer_to(small, f"{REQUEST}Transfer-Encoding: chunked\r\n", chunk * 20 + b"0\r\n\r\n")
    assert not said or said.startswith(b"HTTP/1.1 413")  # a reset may overtake the answer
    assert get(small, "/health")


def test_a_medium_over_its_bound_is_413(small: Running) -> None:
    url = f"data:image/png;base64,{'A' * 20000}"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    status, body = post(small, "/v1/generate", json.dumps({"prompt": content}).encode())
    assert status == 413 and "a medium is over 0.01 MiB" in body["error"]["message"]


def test_first_lines_that_come_a_byte_a_second_end_the_connection(small: Running) -> None:
    with connect(small) as slow:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in REQUEST.encode() * 2:
                slow.sendall(bytes([byte]))
                time.sleep(0.5)
                assert time.monotonic() - began < 20
        assert time.monotonic() - began < 20
    assert get(small, "/health")


@pytest.mark.slow
def test_a_body_that_comes_a_byte_a_second_is_408(small: Running) -> None:
    with connect(small) as slow:
        slow.sendall(f"{REQUEST}Content-Length: 1000\r\n\r\n".encode())
        slow.settimeout(0.5)
        got, began = b"", time.monotonic()
        while not got and time.monotonic() - began < 60:
            slow.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                got = slow.recv(4096)
    assert got.startswith(b"HTTP/1.1 408") and 25 < time.monotonic() - began < 40


def test_a_reader_that_never_reads_is_let_go_and_holds_no_memory(small: Running) -> None:
    before = small.resident()
    with connect(small) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"prompt": "a", "to": "image", "steps": 500, "stream": True,
                           "preview": True}).encode()  # fmt: skip
        deaf.sendall(f"{REQUEST}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(3)
        assert get(small, "/health")
        assert post(small, "/v1/generate", b'{"prompt": "a cat"}')[0] == 200
        assert small.resident() - before < 64 * MIB


def test_more_connections_than_the_bound_are_refused_and_the_rest_served(small: Running) -> None:
    """As many as this process may open: the server's bound is far below."""
    most = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    before = small.resident()
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(connect(small))
        extra = stack.enter_context(connect(small))
        extra.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert extra.recv(100).startswith(b"HTTP/1.1 503")
        assert small.resident() - before < 128 * MIB
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if get(small, "/health"):
                return
        time.sleep(0.2)
    pytest.fail("the server did not come back")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("files", [None, 512], ids=["as many files", "few files"])
def test_ten_thousand_connections_cost_bounded_memory_and_go(
    tiny_bundle: Path, tmp_path: Path, files: int | None
) -> None:
    """All at once; in the second case, the system lets the server open 512 files only."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 10_200:
        pytest.skip("this process may open fewer than 10,200 files; raise it with `ulimit -n`")
    with server(tmp_path / "log", f"tiny={tiny_bundle}") as running:
        if files is not None:
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (files, files))
        before = running.resident()
        with contextlib.ExitStack() as stack:
            opened = 0
            with contextlib.suppress(TimeoutError):  # the system's own queue is full
                while opened < 10_000:
                    address = ("127.0.0.1", running.port)
                    stack.enter_context(socket.create_connection(address, timeout=10))
                    opened += 1
            assert opened == 10_000 or files is not None
            grown = running.resident() - before
            assert grown < 512 * MIB
            print(f"{opened} connections: {grown / MIB:.0f} MiB")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            # until it has let them go, it answers 503 without a body in JSON
            with contextlib.suppress(OSError, ValueError):
                if post(running, "/v1/generate", b'{"prompt": "a cat"}')[0] == 200:
                    break
            time.sleep(0.5)
        else:
            pytest.fail("the server did not come back")
        assert running.log.stat().st_size < MIB  # nor does its log grow without end


BOUNDARY = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (BOUNDARY, b""),
        (BOUNDARY, b"--b"),
        (BOUNDARY, b"--b\r\n\r\n--b--"),
        (BOUNDARY, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        (BOUNDARY, b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--'),
        (BOUNDARY, b'--b\r\nContent-Disposition: form-data; name="file"; filename="a'),
        (BOUNDARY, b"\xff" * 1000),
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        ("application/json", b'{"file": "a"}'),
        ("", b"\0"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits"])
def test_a_malformed_form_is_the_client_s_fault(
    small: Running, path: str, kind: str, body: bytes
) -> None:
    status, said = post(small, path, body, kind)
    assert status in (400, 415, 422) and said["error"]["message"]


def test_a_form_of_very_many_fields_is_refused(small: Running) -> None:
    field = '--b\r\nContent-Disposition: form-data; name="a{}"\r\n\r\nx\r\n'
    body = "".join(field.format(n) for n in range(5000)).encode() + b"--b--"
    assert post(small, "/v1/audio/transcriptions", body, BOUNDARY)[0] == 400


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "x" * 500, "%00"])
def test_an_upload_s_name_leads_nowhere(small: Running, name: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    status, said = post(
        small, "/v1/audio/transcriptions", head.encode() + b"no sound\r\n--b--\r\n", BOUNDARY
    )
    assert status == 422 and said["error"]["message"].startswith("the audio: ")


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd", "/%2e%2e/page.html", "/page.html",
     "/v1/models/%00", "//etc/passwd", "/v1/models/" + "a" * 3000, "/\xff"],
)  # fmt: skip
def test_a_path_leads_to_a_route_or_nowhere(small: Running, path: str) -> None:
    said = answer_to(small, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
    assert said.split(b" ")[1] in (b"400", b"404") and b"root:" not in said


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'"a"', b"null", b"\xff", b'{"prompt": "\\ud800"}',
     b'{"prompt": "a", "seed": 1e999}', b'{"prompt": "a", "temperature": NaN}',
     b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", b'{"prompt": "a", "length": 4096}',
     b'{"prompt": "a", "size": [9999999, 9999999]}', b'{"prompt": ["a"]}',
     b'{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}'],
)  # fmt: skip
def test_a_malformed_body_is_the_client_s_fault(small: Running, body: bytes) -> None:
    status, said = post(small, "/v1/generate", body)
    assert status == 400 and said["error"]["message"] and said["error"]["type"]


def test_a_full_queue_is_429_and_says_when_to_come_back(small: Running) -> None:
    body = json.dumps({"prompt": "a cat", "to": "image", "steps": 300}).encode()

    def one(seed: int) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection("localhost", small.port, timeout=120)
        with contextlib.closing(connection):
            own = body.replace(b"300", str(300 + seed).encode())  # of other settings: no batch
            connection.request("POST", "/v1/generate", own, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("retry-after")

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(one, range(12)))
    assert {status for status, _ in found} == {200, 429}
    assert {after for status, after in found if status == 429} == {"1"}


def test_a_client_that_leaves_stops_its_computation(small: Running) -> None:
    def cancelled() -> float:
        text = get(small, "/metrics").decode()
        return float(text.split("\nnextomni_cancelled_total ")[1].split()[0])

    body = json.dumps({"prompt": "a cat", "to": "image", "steps": 511}).encode()
    before = cancelled()
    for stream in (b"", b"true"):
        own = body[:-1] + b', "stream": true}' if stream else body
        with connect(small) as leaving:
            leaving.sendall(f"{REQUEST}Content-Length: {len(own)}\r\n\r\n".encode() + own)
            time.sleep(0.3)
    deadline = time.monotonic() + 20
    while cancelled() < before + 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cancelled() == before + 2


def test_the_log_says_what_was_asked_and_not_what_was_said(small: Running) -> None:
    assert post(small, "/v1/generate", b'{"prompt": "a secret word", "to": "text"}')[0] == 200
    last = next(line for line in reversed(small.lines()) if line.get("route") == "/v1/generate")
    assert last["status"] == 200 and last["method"] == "POST" and len(str(last["id"])) == 32
    assert "secret word" not in small.log.read_text()


def test_metrics_count_routes_and_not_every_stranger_s_path(small: Running) -> None:
    for n in range(5):
        answer_to(small, f"GET /wander/{n} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
    text = get(small, "/metrics").decode()
    assert 'nextomni_requests_total{route="other",status="404"}' in text and "wander" not in text
    assert "nextomni_batch_count" in text and "process_resident_memory_bytes" in text


def test_a_server_that_was_killed_starts_again_and_clients_recover(
    tiny_bundle: Path, tmp_path: Path, model: ne.Model
) -> None:
    from openai import APIConnectionError, OpenAI

    first = begin(tmp_path / "first", f"tiny={tiny_bundle}")
    client = OpenAI(base_url=f"{first.address}/v1", api_key="any", max_retries=0)

    def say() -> str | None:
        reply = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "a cat"}], seed=3
        )
        return reply.choices[0].message.content

    long: Callable[[], Any] = lambda: client.images.generate(  # noqa: E731
        model="tiny", prompt="a cat", extra_body={"steps": 512}
    )
    expected = say()
    with ThreadPoolExecutor(1) as threads:
        broken = threads.submit(long)
        time.sleep(0.3)
        os.kill(first.process.pid, signal.SIGKILL)
        with pytest.raises(APIConnectionError):
            broken.result()
    first.process.wait()
    with server(tmp_path / "second", f"tiny={tiny_bundle}", port=first.port):
        assert say() == expected == model.generate("a cat", seed=3).text


def stopped(running: Running, steps: int) -> dict[str, Any]:
    """The answer of a server that is told to stop while it computes these steps."""
    asked = json.dumps({"prompt": "a cat", "to": "image", "steps": steps, "seed": 1}).encode()
    with ThreadPoolExecutor(1) as threads:
        reply = threads.submit(post, running, "/v1/generate", asked)
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        status, body = reply.result()
    assert running.process.wait(timeout=60) == 0 and status == 200
    found: dict[str, Any] = body
    return found


def test_an_order_to_stop_lets_what_is_begun_finish(
    tiny_bundle: Path, tmp_path: Path, model: ne.Model
) -> None:
    body = stopped(begin(tmp_path / "log", f"tiny={tiny_bundle}"), 200)
    whole = model.generate("a cat", to="image", steps=200, seed=1)
    assert not body["partial"] and body["tokens"] == whole.tokens.tolist()


def test_an_order_to_stop_gives_what_is_there_when_grace_is_over(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    body = stopped(begin(tmp_path / "log", f"tiny={tiny_bundle}", "--grace", 0), 512)
    assert body["partial"] and body["data"].startswith("data:image/png;base64,")


def test_curl_asks_with_a_key(tiny_bundle: Path, tmp_path: Path, model: ne.Model) -> None:
    secret = tmp_path / "key"
    secret.write_text(KEY)
    with server(tmp_path / "log", f"tiny={tiny_bundle}", "--api-key", f"@{secret}") as running:

        def curl(*more: str) -> str:
            command = ["curl", "-sS", "--max-time", "60", *more]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        body = json.dumps({"prompt": "a cat", "seed": 7, "stream": True})
        asked = ["-N", "-d", body, "-H", "Content-Type: application/json",
                 f"{running.address}/v1/generate"]  # fmt: skip
        assert '"type":"authentication_error"' in curl(*asked)
        said = curl("-H", f"Authorization: Bearer {KEY}", *asked)
        events = [block.split("\n", 1) for block in said.strip().split("\n\n")]
        assert {name for name, _ in events} == {"event: step", "event: answer"}
        answer = json.loads(events[-1][1].removeprefix("data: "))
        assert answer["text"] == model.generate("a cat", seed=7).text
        # a browser's way
        assert "<!doctype html>" in curl("-u", f"me:{KEY}", running.address).lower()
