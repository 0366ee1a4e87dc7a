"""A small recommendation service: standard library alone, around a saved model.

    python examples/serve.py films.safetensors --port 8000 --titles titles.tsv

    curl 'localhost:8000/recommend?user=17&k=5'
    curl -d '{"items": [260, 1196], "values": [5, 4], "k": 5}' localhost:8000/recommend
    curl 'localhost:8000/similar?item=260'
    curl -X POST localhost:8000/reload

The model is memory-mapped, so several such processes share it. It is replaced without a restart
when its file is (`model.save` does so at once), which POST /reload looks for, and a thread every
`--watch` seconds. Requests under way keep the model they began with; a file that cannot be read
leaves the old one in service.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import scipy.sparse as sp

import matfac

LARGEST_BODY = 1 << 20  # bytes
LONGEST_LIST = 1000
log = logging.getLogger("serve")


class Problem(Exception):
    """What the client is told: a status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Loaded(NamedTuple):
    """A model and what one request needs of it; never changed, only replaced."""

    model: Any
    users: dict[str, Any]  # ids by their text, as they come in a URL
    items: dict[str, Any]
    rows: dict[str, int]  # the same items' columns
    mark: tuple[int, int, int]


class Store:
    """The model in service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loading = threading.Lock()
        self.current = self._load()

    def _load(self) -> Loaded:
        mark = self._mark()  # before reading: a file replaced meanwhile is looked at again
        model = matfac.load(self.path)
        model.set_params(n_threads=1)  # a request is small; requests run side by side
        users, items = model.user_ids_, model.item_ids_
        if users is None or items is None:  # fitted on a bare matrix: ids are row numbers
            users, items = np.arange(len(model.user_factors_)), np.arange(model.n_features_in_)
        model.recommend(users[:1], k=1)  # one that cannot answer is not taken into service
        rows = {str(item): row for row, item in enumerate(items.tolist())}
        return Loaded(model, _by_text(users), _by_text(items), rows, mark)

    def _mark(self) -> tuple[int, int, int]:
        status = os.stat(self.path)
        return status.st_ino, status.st_mtime_ns, status.st_size

    def refresh(self) -> bool:
        """Take the file's model into service if it is another; return whether it was."""
        with self._loading:
            if self._mark() == self.current.mark:
                return False
            self.current = self._load()  # one assignment: a request sees the old or the new
            log.info("%s: %d items", self.path, len(self.current.items))
            return True


def _by_text(ids: np.ndarray) -> dict[str, Any]:
    return {str(value): value for value in ids.tolist()}


class Service(ThreadingHTTPServer):
    """Answers requests in threads, and can stop after those under way."""

    daemon_threads = True  # idle connections do not keep the process

    def __init__(self, address: tuple[str, int], store: Store, titles: dict[str, str]) -> None:
        super().__init__(address, Handler)
        self.store, self.titles = store, titles
        self._under_way = 0
        self._changed = threading.Condition()

    def count(self, change: int) -> None:
        """Count a request that begins (1) or ends (-1)."""
        with self._changed:
            self._under_way += change
            self._changed.notify_all()

    def stop(self, seconds: float = 10.0) -> None:
        """Accept nothing more, and wait for the requests under way."""
        self.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, seconds)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"  # clients keep their connections
    timeout = 30  # seconds a silent client may hold one
    server: Service

    def do_GET(self) -> None:
        self._answer(
            {"/recommend": self.known_user, "/similar": self.similar, "/health": self.health}
        )

    def do_POST(self) -> None:
        self._answer({"/recommend": self.new_user, "/reload": self.reload})

    def do_PUT(self) -> None:
        self._answer({})

    do_DELETE = do_PATCH = do_PUT

    def _answer(self, routes: dict[str, Any]) -> None:
        self.server.count(1)
        try:
            try:
                body = self._body()
                url = urlsplit(self.path)
                if url.path not in routes:
                    known = url.path in ("/recommend", "/similar", "/health", "/reload")
                    raise Problem(405 if known else 404, f"no {self.command} {url.path} here")
                status, reply = 200, routes[url.path](parse_qs(url.query), body)
            except Problem as problem:
                status, reply = problem.status, {"error": str(problem)}
            except Exception:
                log.exception("%s", self.requestline)
                status, reply = 500, {"error": "an error of the service; its log has more"}
            self._send(status, reply)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the client has gone
        finally:
            self.server.count(-1)

    def _body(self) -> bytes:
        if self.command == "GET":
            return b""
        # Without either header a request has no body (RFC 9112, section 6.3).
        chunked = "Transfer-Encoding" in self.headers
        length = self.headers.get("Content-Length", "" if chunked else "0")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True  # where the body ends is unknown
            raise Problem(411, f"a {self.command} needs a Content-Length")
        if len(length) > 9 or int(length) > LARGEST_BODY:
            self.close_connection = True  # the body is not read
            raise Problem(413, f"the body may have {LARGEST_BODY} bytes, not {length[:20]}")
        return self.rfile.read(int(length))

    def _send(self, status: int, reply: dict[str, Any]) -> None:
        data = json.dumps(reply, ensure_ascii=False).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        log.debug("%s %s %s", self.client_address[0], self.requestline, code)

    # --- what can be asked -------------------------------------------------------------------

    def known_user(self, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        loaded = self.server.store.current
        user = _known(loaded.users, _one(query, "user"), "user")
        items, scores = loaded.model.recommend([user], k=_length(_one(query, "k", "10")))
        return {"user": user, "items": self._listed(items[0], scores[0])}

    def similar(self, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        loaded = self.server.store.current
        item = _known(loaded.items, _one(query, "item"), "item")
        items, scores = loaded.model.similar_items([item], k=_length(_one(query, "k", "10")))
        return {"item": item, "items": self._listed(items[0], scores[0])}

    def new_user(self, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        loaded = self.server.store.current
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Problem(400, f"the body is not JSON: {error}") from None
        if not isinstance(request, dict) or not isinstance(request.get("items"), list):
            raise Problem(400, 'the body must be like {"items": [1, 2], "values": [5, 3], "k": 10}')
        names = [str(item) for item in request["items"]]
        values = request.get("values", [1] * len(names))
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if not numbers or len(values) != len(names):
            raise Problem(400, "values must be numbers, one for each of items")
        last = dict(zip(names, values, strict=True))  # an item given again: its last value
        known = [name for name in last if name in loaded.rows]
        if not known:
            raise Problem(422, "items holds none that the model knows")
        k = _length(request.get("k", 10))
        columns = [loaded.rows[name] for name in known]
        try:
            entries = np.array([last[name] for name in known], np.float64)
            X = sp.csr_array((entries, columns, [0, len(known)]), shape=(1, len(loaded.rows)))
            items, scores = loaded.model.recommend(X=X, k=k)
        except (ValueError, OverflowError) as error:  # of the values: not finite, negative
            raise Problem(400, f"values cannot be used: {error}") from None
        unknown = [name for name in last if name not in loaded.rows]
        return {"items": self._listed(items[0], scores[0]), "unknown": unknown}

    def reload(self, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        try:
            return {"reloaded": self.server.store.refresh()}
        except (OSError, ValueError) as error:
            raise Problem(503, f"the model in service stays: {error}") from None

    def health(self, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        loaded = self.server.store.current
        kind = type(loaded.model).__name__
        return {"model": kind, "users": len(loaded.users), "items": len(loaded.items)}

    def _listed(self, items: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for item, score in zip(items.tolist(), scores.tolist(), strict=True):
            if score > -np.inf:  # else padding: the model has no more items
                title = self.server.titles.get(str(item))
                named = {} if title is None else {"title": title}
                found.append({"id": item, **named, "score": score})
        return found


def _one(query: dict[str, list[str]], name: str, default: str | None = None) -> str:
    values = query.get(name, [] if default is None else [default])
    if len(values) != 1:
        raise Problem(400, f"the query must have one {name}=, not {len(values)}")
    return values[0]


def _known(ids: dict[str, Any], text: str, what: str) -> Any:
    if text not in ids:
        raise Problem(404, f"the model knows no {what} {text!r}")
    return ids[text]


def _length(given: Any) -> int:
    text = str(given)
    if isinstance(given, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(400, f"k must be an integer from 1 to {LONGEST_LIST}, not {text[:50]!r}")
    if not 1 <= int(text) <= LONGEST_LIST:
        raise Problem(400, f"k must be an integer from 1 to {LONGEST_LIST}, not {text}")
    return int(text)


def read_titles(path: Path) -> dict[str, str]:
    """Read a table with a header: ids in the first column, titles in the one named title."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        key = (rows.fieldnames or [""])[0]
        return {row[key]: row["title"] for row in rows}


def watch(store: Store, seconds: float, stopping: threading.Event) -> None:
    """Look for a new model every few seconds."""
    while not stopping.wait(seconds):
        try:
            store.refresh()
        except (OSError, ValueError) as error:
            log.warning("the model in service stays: %s", error)


def main() -> None:
    """Serve until told to stop by SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--titles", type=Path, help="table of item ids and titles")
    parser.add_argument("--watch", type=float, default=0, help="seconds between looks at the file")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    titles = read_titles(args.titles) if args.titles else {}
    service = Service((args.host, args.port), Store(args.model), titles)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=service.serve_forever, daemon=True).start()
    if args.watch > 0:
        looking = (service.store, args.watch, stopping)
        threading.Thread(target=watch, args=looking, daemon=True).start()
    print(f"serving {args.model} on http://{args.host}:{service.server_address[1]}", flush=True)
    stopping.wait()
    service.stop()
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
