"""The examples, run as a user runs them."""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF, Interactions, load
from matfac._model import FactorModel

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
N_USERS, N_ITEMS = 60, 40
RATINGS = random_ratings(N_USERS, N_ITEMS, 0.2, seed=6)
NAMED = Interactions(
    RATINGS, [f"user {i}&ü" for i in range(N_USERS)], [f"film {i}" for i in range(N_ITEMS)]
)
PARAMETERS: dict[str, Any] = {"n_factors": 4, "n_iter": 3, "random_state": 0, "n_threads": 1}


class Client:
    """A running service and a connection to it."""

    def __init__(self, process: subprocess.Popen[str], model: Path) -> None:
        self.process, self.model = process, model
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)$", line.strip())
        assert found, line
        self.port = int(found[1])
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, *, new: bool = False
    ) -> tuple[int, dict[str, Any]]:
        connection = self.connect() if new else self.connection
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data)
        reply = connection.getresponse()
        assert reply.headers["Content-Type"].startswith("application/json")
        found = reply.status, json.loads(reply.read())
        if new:
            connection.close()
        return found

    def get(self, path: str) -> dict[str, Any]:
        status, reply = self.ask("GET", path)
        assert status == 200, reply
        return reply


def started(folder: Path, model: FactorModel, *options: str) -> Client:
    path = folder / "model.safetensors"
    model.save(path)
    titles = folder / "titles.tsv"
    titles.write_text("id\ttitle\nfilm 3\tDrei ☃\n", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "serve.py", path, "--port", "0", "--titles", titles, *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        return Client(process, path)
    except BaseException:
        process.kill()
        raise


def stopped(client: Client) -> None:
    client.connection.close()
    client.process.kill()
    client.process.wait()
    assert client.process.stdout is not None
    client.process.stdout.close()


def implicit(X: Any = NAMED, **changes: Any) -> ImplicitMF:
    return ImplicitMF(**{**PARAMETERS, **changes}).fit(X)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = started(tmp_path_factory.mktemp("service"), implicit())
    yield client
    stopped(client)


def pairs(reply: dict[str, Any]) -> tuple[list[Any], list[float]]:
    return [item["id"] for item in reply["items"]], [item["score"] for item in reply["items"]]


def test_known_users(service: Client) -> None:
    model = load(service.model)
    for user in NAMED.user_ids[[0, 7]]:
        items, scores = pairs(service.get(f"/recommend?user={quote(user)}&k=5"))
        wanted, values = model.recommend([user], k=5)
        assert items == wanted[0].tolist()
        np.testing.assert_allclose(scores, values[0], rtol=1e-6)
    reply = service.get(f"/recommend?user={quote(NAMED.user_ids[3])}&k=1000")
    assert len(reply["items"]) == N_ITEMS - RATINGS[[3]].nnz  # no padding
    assert {"id": "film 3", "title": "Drei ☃"}.items() <= next(
        item for item in service.get(f"/similar?item={quote('film 4')}&k=1000")["items"]
        if item["id"] == "film 3"
    ).items()  # fmt: skip
    assert service.get("/health") == {"model": "ImplicitMF", "users": 60, "items": 40}


def test_posted_histories(service: Client) -> None:
    model = load(service.model)
    body = {"items": ["film 1", "film 8", "nothing"], "values": [2, 1.5, 1], "k": 4}
    status, reply = service.ask("POST", "/recommend", body)
    assert status == 200
    assert reply["unknown"] == ["nothing"]
    row = np.zeros((1, N_ITEMS))
    columns = [int(np.flatnonzero(NAMED.item_ids == name)[0]) for name in ("film 1", "film 8")]
    row[0, columns] = 2, 1.5
    wanted, values = model.recommend(X=row, k=4)
    assert pairs(reply)[0] == wanted[0].tolist()
    np.testing.assert_allclose(pairs(reply)[1], values[0], rtol=1e-6)
    assert service.ask("POST", "/recommend", {"items": ["film 1"]})[0] == 200


def test_similar_items(service: Client) -> None:
    wanted, values = load(service.model).similar_items(["film 9"], k=3)
    items, scores = pairs(service.get(f"/similar?item={quote('film 9')}&k=3"))
    assert items == wanted[0].tolist()
    np.testing.assert_allclose(scores, values[0], rtol=1e-6)


BAD: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/", None, 404, "no GET /"),
    ("GET", "/nothing", None, 404, "no GET /nothing"),
    ("GET", "/reload", None, 405, "no GET /reload"),
    ("POST", "/similar", b"{}", 405, "no POST /similar"),
    ("PUT", "/recommend", b"{}", 405, "no PUT /recommend"),
    ("DELETE", "/recommend", b"", 405, "no DELETE /recommend"),
    ("GET", "/recommend", None, 400, "must have one user=, not 0"),
    ("GET", "/recommend?user=a&user=b", None, 400, "must have one user=, not 2"),
    ("GET", "/recommend?user=nobody", None, 404, "knows no user 'nobody'"),
    ("GET", "/similar?item=nothing", None, 404, "knows no item 'nothing'"),
    ("GET", "/similar?item=film+1&k=0", None, 400, "k must be an integer from 1 to 1000, not 0"),
    ("GET", "/similar?item=film+1&k=-3", None, 400, "k must be an integer"),
    ("GET", "/similar?item=film+1&k=many", None, 400, "k must be an integer"),
    ("GET", "/similar?item=film+1&k=" + "9" * 5000, None, 400, "k must be an integer"),
    ("POST", "/recommend", b"{", 400, "the body is not JSON"),
    ("POST", "/recommend", b"\xff\xfe\xfd", 400, "the body is not JSON"),
    ("POST", "/recommend", b"[" * 100_000, 400, "the body is not JSON"),
    ("POST", "/recommend", [1, 2], 400, "the body must be like"),
    ("POST", "/recommend", {"items": "film 1"}, 400, "the body must be like"),
    ("POST", "/recommend", {"items": []}, 422, "holds none that the model knows"),
    ("POST", "/recommend", {"items": [None, {}]}, 422, "holds none that the model knows"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [1, 2]}, 400, "values must be numbers"),
    ("POST", "/recommend", {"items": ["film 1"], "values": ["1"]}, 400, "values must be numbers"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [True]}, 400, "values must be numbers"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [-1]}, 400, "cannot be negative"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [float("nan")]}, 400, "contains NaN"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [1e300]}, 400, "beyond 1e+15"),
    ("POST", "/recommend", {"items": ["film 1"], "values": [10**400]}, 400, "values cannot be"),
    ("POST", "/recommend", {"items": ["film 1"], "k": True}, 400, "k must be an integer"),
    ("POST", "/recommend", {"items": ["film 1"], "k": 2.5}, 400, "k must be an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), BAD)
def test_bad_requests_are_answered(
    service: Client, method: str, path: str, body: Any, status: int, message: str
) -> None:
    found, reply = service.ask(method, path, body)
    assert (found, list(reply)) == (status, ["error"]), reply
    assert message in reply["error"]
    assert service.get("/health")["items"] == N_ITEMS  # the same connection serves on


@pytest.mark.parametrize(
    ("length", "status"), [("chunked", 411), ("-1", 411), ("two", 411), ("²", 411),
                           ("2000000", 413), ("9" * 5000, 413)],
)  # fmt: skip
def test_bodies_of_bad_length_are_refused(service: Client, length: Any, status: int) -> None:
    connection = service.connect()
    connection.putrequest("POST", "/recommend")
    if length == "chunked":
        connection.putheader("Transfer-Encoding", length)
    else:
        connection.putheader("Content-Length", length.encode("latin-1"))
    connection.endheaders()
    reply = connection.getresponse()
    assert reply.status == status
    assert "error" in json.loads(reply.read())
    assert reply.headers["Connection"] == "close"
    connection.close()


def test_a_post_without_a_body_needs_no_length(service: Client) -> None:
    for path, status in (("/reload", 200), ("/recommend", 400)):
        connection = service.connect()
        connection.putrequest("POST", path)
        connection.endheaders()
        reply = connection.getresponse()
        assert reply.status == status, reply.read()
        reply.read()
        connection.close()


def test_concurrent_requests(service: Client) -> None:
    model = load(service.model)
    wanted, _ = model.recommend(k=5)

    def ask(i: int) -> bool:
        user, row = i % N_USERS, RATINGS[[i % N_USERS]]
        if i % 3 == 0 and row.nnz:
            names = NAMED.item_ids[row.indices].tolist()
            body = {"items": names, "values": row.data.tolist(), "k": 5}
            status, reply = service.ask("POST", "/recommend", body, new=True)
            return status == 200 and pairs(reply)[0] == wanted[user].tolist()
        path = f"/recommend?user={quote(NAMED.user_ids[user])}&k=5"
        status, reply = service.ask("GET", path, new=True)
        return status == 200 and pairs(reply)[0] == wanted[user].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_the_model_is_refreshed_without_a_restart(tmp_path: Path) -> None:
    client = started(tmp_path, implicit())
    try:
        path = f"/recommend?user={quote(NAMED.user_ids[2])}&k=3"
        before = client.get(path)
        assert client.ask("POST", "/reload", b"") == (200, {"reloaded": False})
        newer = ExplicitMF(**PARAMETERS).fit(NAMED)
        newer.save(client.model)
        assert client.get(path) == before  # not yet asked for
        assert client.ask("POST", "/reload", b"") == (200, {"reloaded": True})
        items, scores = newer.recommend(NAMED.user_ids[[2]], k=3)
        assert pairs(client.get(path))[0] == items[0].tolist()
        np.testing.assert_allclose(pairs(client.get(path))[1], scores[0], rtol=1e-6)
        assert client.get("/health")["model"] == "ExplicitMF"
        new = client.model.with_name("new")
        for damage in (b"", b"noise" * 100):
            new.write_bytes(damage)
            os.replace(new, client.model)
            status, reply = client.ask("POST", "/reload", b"")
            assert status == 503
            assert "the model in service stays" in reply["error"]
            assert client.get("/health")["model"] == "ExplicitMF"
        client.model.unlink()
        assert client.ask("POST", "/reload", b"")[0] == 503
        implicit().save(client.model)
        assert client.ask("POST", "/reload", b"") == (200, {"reloaded": True})
        assert client.get(path) == before
    finally:
        stopped(client)


def test_a_watched_file_is_swapped_under_load(tmp_path: Path) -> None:
    models = [implicit(random_state=seed) for seed in (0, 1)]
    user = NAMED.user_ids[5]
    answers = [model.recommend([user], k=5)[1][0] for model in models]
    client = started(tmp_path, models[0], "--watch", "0.05")
    try:
        seen = set()
        end = time.monotonic() + 60
        for turn in range(1, 7):
            models[turn % 2].save(client.model)
            while time.monotonic() < end:
                scores = pairs(client.get(f"/recommend?user={quote(user)}&k=5"))[1]
                # Whole answers of one model or of the other.
                which = [bool(np.allclose(scores, answer, rtol=1e-6)) for answer in answers]
                assert sum(which) == 1
                seen.add((turn, which.index(True)))
                if which[turn % 2]:
                    break
        assert {(turn, turn % 2) for turn in range(1, 7)} <= seen
    finally:
        stopped(client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_finishes_what_it_began(number: int, tmp_path: Path) -> None:
    client = started(tmp_path, implicit(RATINGS))
    try:
        assert client.get("/recommend?user=7&k=2")["user"] == 7  # ids are row numbers
        late = client.connect()
        late.putrequest("POST", "/recommend")
        body = json.dumps({"items": [1, 2], "k": 3}).encode()
        late.putheader("Content-Length", str(len(body)))
        late.endheaders()
        time.sleep(0.3)  # the service waits for the body
        client.process.send_signal(number)
        time.sleep(0.7)
        assert client.process.poll() is None
        late.send(body)
        reply = late.getresponse()
        assert reply.status == 200
        assert len(json.loads(reply.read())["items"]) == 3
        late.close()
        assert client.process.wait(20) == 0
        assert client.process.stdout is not None
        assert client.process.stdout.read() == "stopped\n"
    finally:
        stopped(client)


def test_a_model_that_cannot_serve_is_refused_at_the_start(tmp_path: Path) -> None:
    implicit().save(tmp_path / "lean", with_seen=False)
    store = runpy.run_path(str(EXAMPLES / "serve.py"))["Store"]
    for path, message in ((tmp_path / "lean", "saved without"), (tmp_path / "none", "none")):
        with pytest.raises((ValueError, OSError), match=message):
            store(path)


def test_movies(tmp_path: Path) -> None:
    coo = RATINGS.tocoo()
    rows = zip(coo.coords[0] + 1, 10 * coo.coords[1] + 1, coo.data, strict=True)
    lines = ["userId,movieId,rating,timestamp", *(f"{u},{i},{r},0" for u, i, r in rows)]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    films = [f'{10 * i + 1},"Film, The {i}",Drama' for i in range(N_ITEMS)]
    (tmp_path / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")
    out = subprocess.run(
        [sys.executable, EXAMPLES / "movies.py", "ratings.csv", "movies.csv", "--factors", "4"],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=200,
        env={**os.environ, "MPLBACKEND": "Agg"},
    ).stdout  # fmt: skip
    assert "Film, The" in out
    model = load(tmp_path / "films" / "model.safetensors")
    with open(tmp_path / "films" / "recommendations.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    lists, _ = model.recommend(model.user_ids_[:1], k=10)
    first = [int(row["movieId"]) for row in table if row["userId"] == str(model.user_ids_[0])]
    assert first == lists[0].tolist()
    assert table[0]["title"] == f"Film, The {first[0] // 10}"
    assert (tmp_path / "films" / "map.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "films" / "items.parquet").exists()
