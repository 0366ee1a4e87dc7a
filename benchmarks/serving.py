"""Lists and fold-in per second; with a peer, its batch `recommend` under the same filters in turn.

`python benchmarks/serving.py [--peer PYTHON]`; PYTHON is an interpreter that has `implicit`. The
factors are random, with item norms that vary as those of fitted models do; both sides get the same
ones. The lists are compared with each other and, for some users, with brute force in float64.
`--users 138000 --closed 0` asks for everyone of a matrix of 20 million entries.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from peer_fit import peak_mb

ITEMS, FACTORS, SEEN, K = 27_000, 64, 145, 10
FOLDED, ENTRIES = 16_000, 50  # users to fold in, and the entries of each


def make(path: Path, users: int, closed: int) -> None:
    rng = np.random.default_rng(0)
    norms = 0.2 * rng.lognormal(0, 0.5, (ITEMS, 1))
    popular = np.minimum((rng.pareto(0.6, users * SEEN) * 30).astype(np.int64), ITEMS - 1)
    at = rng.integers(0, users, users * SEEN), popular
    seen = sp.csr_array((np.ones(users * SEEN, np.float32), at), shape=(users, ITEMS))
    seen.sum_duplicates()
    np.savez(
        path,
        users=(0.2 * rng.standard_normal((users, FACTORS))).astype(np.float32),
        items=(norms * rng.standard_normal((ITEMS, FACTORS))).astype(np.float32),
        indptr=seen.indptr.astype(np.int64),
        indices=seen.indices.astype(np.int32),
        closed=np.sort(rng.choice(ITEMS, closed, replace=False)),
    )


def seen_of(data: Any) -> sp.csr_matrix:
    values = np.ones(len(data["indices"]), np.float32)
    shape = (len(data["users"]), ITEMS)
    return sp.csr_matrix((values, data["indices"], data["indptr"]), shape=shape)


def own(data: Any, threads: int) -> Any:
    from matfac import ImplicitMF

    model = ImplicitMF(n_factors=FACTORS, n_iter=1, n_threads=threads, random_state=0)
    model.fit(seen_of(data))
    model.user_factors_, model.item_factors_ = data["users"], data["items"]
    return lambda: model.recommend(k=K, exclude_items=data["closed"])


def peer(data: Any, threads: int) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=FACTORS, num_threads=threads)
    model.user_factors, model.item_factors = data["users"], data["items"]
    seen = seen_of(data)
    users = np.arange(len(data["users"]))
    return lambda: model.recommend(users, seen, N=K, filter_items=data["closed"])


def serve(side: str, path: Path, threads: int) -> None:
    """Answer each line on standard input with the seconds of one call."""
    data = dict(np.load(path))
    ask = (own if side == "own" else peer)(data, threads)
    before = peak_mb()
    for _ in sys.stdin:
        start = time.perf_counter()
        ids, scores = ask()
        seconds = time.perf_counter() - start
        np.savez(path.with_name(f"{side}.npz"), ids=ids, scores=scores)
        print(seconds, peak_mb() - before, flush=True)


def child(python: str, side: str, path: Path, threads: int) -> subprocess.Popen[str]:
    command = [python, __file__, "--serve", side, "--data", str(path), "--threads", str(threads)]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )


def ask(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Return the seconds of a call, and the MiB by which calls have raised the peak so far."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, grown = map(float, process.stdout.readline().split())
    return seconds, grown


def check(data: Any, ids: np.ndarray) -> None:
    some = np.random.default_rng(1).choice(len(data["users"]), 400, replace=False)
    scores = data["users"][some].astype(np.float64) @ data["items"].T.astype(np.float64)
    scores[seen_of(data)[some].toarray() != 0] = -np.inf
    scores[:, data["closed"]] = -np.inf
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    print(f"places equal to brute force: {np.mean(wanted == ids[some]):.4%}")


def fold_in(threads: int) -> None:
    from matfac import ExplicitMF, ImplicitMF

    rng = np.random.default_rng(0)
    size = FOLDED * ENTRIES
    at = np.repeat(np.arange(FOLDED), ENTRIES), rng.integers(0, ITEMS, size)
    X = sp.csr_array((rng.integers(1, 6, size), at), shape=(FOLDED, ITEMS))
    for model in (ImplicitMF(FACTORS), ImplicitMF(FACTORS, alpha=10.0), ExplicitMF(FACTORS)):
        model.set_params(n_iter=1, n_threads=threads, random_state=0, verbose=False).fit(X)
        for name, fold, n in (
            ("transform", model.transform, FOLDED),
            ("fold_in_items", model.fold_in_items, ITEMS),
        ):
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                fold(X)
                seconds.append(time.perf_counter() - start)
            print(f"{type(model).__name__:11} {name:14} {n / statistics.median(seconds):9,.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="an interpreter that has implicit")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--users", type=int, default=16_000)
    parser.add_argument("--closed", type=int, default=500, help="items closed to all")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.data, args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.npz")
        make(path, args.users, args.closed)
        ours = child(sys.executable, "own", path, args.threads)
        theirs = child(args.peer, "peer", path, args.threads) if args.peer else None
        ratios = []
        for repeat in range(args.repeats + 1):
            mine, grown = ask(ours)
            other, their_growth = ask(theirs) if theirs else (np.nan, np.nan)
            if repeat == 0:  # warms up
                print(f"a call's own memory: {grown:.0f} MiB, peer {their_growth:.0f} MiB")
                continue
            own_rate, their_rate = args.users / mine, args.users / other
            print(f"lists: {own_rate:9,.0f}/s, peer {their_rate:9,.0f}/s, {other / mine:.2f}x")
            ratios.append(other / mine)
        print(f"median ratio {statistics.median(ratios):.2f}x")
        ids = np.load(path.with_name("own.npz"))["ids"]
        check(dict(np.load(path)), ids)
        if theirs is not None:
            their_ids = np.load(path.with_name("peer.npz"))["ids"]
            print(f"places equal to the peer: {np.mean(their_ids == ids):.4%}", flush=True)
        for process in (ours, theirs):
            if process is not None and process.stdin is not None:
                process.stdin.close()
                process.wait()
    return fold_in(args.threads)


if __name__ == "__main__":
    main()
