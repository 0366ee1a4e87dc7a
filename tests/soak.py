"""Random fits, fold-ins, saves, loads, kills and interrupts: `python tests/soak.py --minutes 30`.

Fails at the first wrong result, at an interrupt that takes 0.2 s or more of processor time to come,
and at the end if memory grew by 2 % or more from the second tenth of the time to the last (medians
of five weighings: it goes up and down by 1 % from round to round).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import signal
import statistics
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from matfac import ConvergenceError, ExplicitMF, ImplicitMF, RankingMF, load, metrics

KINDS: list[tuple[Any, dict[str, Any]]] = [
    (ExplicitMF, {}),
    (ExplicitMF, {"cg_steps": None, "dtype": "float64"}),
    (ExplicitMF, {"solver": "sgd", "deterministic": True}),
    (ExplicitMF, {"solver": "sgd", "learning_rate": 100.0}),
    (ExplicitMF, {"nonnegative": True}),
    (ImplicitMF, {"alpha0": 0.1}),
    (ImplicitMF, {"alpha": 3.0, "reg": 0.5}),
    (RankingMF, {"loss": "bpr"}),
]


waits: list[float] = []  # from Ctrl-C to its exception


def resident() -> int:
    """Return this process's resident memory in KiB."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def fill_numpy() -> None:
    """Fill NumPy's store of freed blocks, seven of each size below 1 KiB.

    Random shapes would fill it bit by bit, which looks like a leak.
    """
    for size in range(1, 1024):
        blocks = [np.empty(size, np.uint8) for _ in range(8)]
        del blocks


def ratings(rng: np.random.Generator) -> sp.csr_array:
    m, n = (int(x) for x in rng.integers(20, 2000, 2))
    # Not random_array: it draws from a list of all cells, whose pieces of freed memory are weighed.
    cells = np.unique(rng.integers(m * n, size=m * min(n, 40)))
    values = np.ceil(5 * rng.random(len(cells)))
    return sp.csr_array((values, (cells // n, cells % n)), shape=(m, n))


def fit(rng: np.random.Generator, X: sp.csr_array, **more: Any) -> Any:
    cls, parameters = KINDS[rng.integers(len(KINDS))]
    given = {
        "n_factors": int(rng.integers(1, 40)),
        "n_iter": int(rng.integers(1, 8)),
        "random_state": int(rng.integers(99)),
        "n_threads": int(rng.integers(1, 3)),
    }
    return cls(**{**given, **parameters, **more})


def finite(model: Any) -> None:
    for name in ("user_factors_", "item_factors_", "user_bias_", "item_bias_"):
        value = getattr(model, name)
        assert value is None or np.isfinite(value).all(), name


def serve(rng: np.random.Generator, X: sp.csr_array, folder: Path) -> None:
    """Fit, fold in, save, load: the loaded model answers as the fitted one."""
    model = fit(rng, X).fit(X)
    finite(model)
    assert np.isfinite(model.transform(X[:20])).all()
    path = folder / "model"
    model.save(path)
    again = load(path)
    users = rng.integers(X.shape[0], size=5)
    for a, b in zip(model.recommend(users, k=3), again.recommend(users, k=3), strict=True):
        np.testing.assert_array_equal(a, b)
    if not isinstance(model, RankingMF):
        assert np.isfinite(model.fold_in_items(X[:, :5])).all()
    assert 0 <= metrics.evaluate(model, X, k=3, exclude_seen=False)["ndcg@3"] <= 1


def interrupt(rng: np.random.Generator, X: sp.csr_array, folder: Path) -> None:
    """Ctrl-C at a random moment: the model is whole, or there is none."""
    model = fit(rng, X, n_iter=1000)
    sent: list[tuple[float, float]] = []

    def send() -> None:
        sent.append((time.monotonic(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(rng.uniform(0, 0.3), send)
    took = math.inf
    try:
        timer.start()  # the signal may land before start returns
        with contextlib.suppress(ConvergenceError):  # which may come before the signal
            model.fit(X)
        time.sleep(60)
    except KeyboardInterrupt:
        now = time.monotonic(), time.process_time()
        took = min(b - a for a, b in zip(sent[0], now, strict=True))
    timer.join()
    assert took < 0.2, took
    waits.append(took)
    if hasattr(model, "user_factors_"):
        finite(model)
        assert len(model.history_) == model.n_iter_


def kill(rng: np.random.Generator, X: sp.csr_array, folder: Path) -> None:
    """Kill -9 at a random moment: the fit goes on, to the same bits."""
    kw: dict[str, Any] = {"n_factors": 8, "n_iter": 6, "random_state": 0, "n_threads": 1}
    kw |= {"solver": "sgd", "deterministic": True} if rng.random() < 0.5 else {}
    path = folder / "run"
    child = os.fork()
    if child == 0:
        ExplicitMF(**kw).fit(X, checkpoint=path)
        os._exit(0)
    time.sleep(rng.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    resumed = ExplicitMF(**kw).fit(X, checkpoint=path, resume=True).item_factors_
    path.unlink(missing_ok=True)
    whole = ExplicitMF(**kw).fit(X)
    np.testing.assert_array_equal(resumed, whole.item_factors_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(args.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells' background jobs ignore it
    fill_numpy()
    done: Counter[str] = Counter()
    start, tenth, weighed = time.monotonic(), 6 * args.minutes, list[int]()
    with tempfile.TemporaryDirectory() as name:
        while (passed := time.monotonic() - start) < 60 * args.minutes:
            work = (serve, serve, interrupt, kill)[rng.integers(4)]
            try:
                work(rng, ratings(rng), Path(name))
            except ConvergenceError:
                done["clear errors"] += 1
            done[work.__name__] += 1
            if passed > tenth / 5 * len(weighed):
                weighed.append(resident())
                print(f"{passed:.0f} s: {done.total()} rounds, {weighed[-1]} KiB", flush=True)
    first, last = (int(statistics.median(part)) for part in (weighed[5:10], weighed[-5:]))
    growth = last / first - 1
    counts = ", ".join(f"{n} {name}" for name, n in sorted(done.items()))
    print(f"{counts}; 0 failures; Ctrl-C within {max(waits):.3f} s")
    print(f"memory {first} to {last} KiB, {growth:+.1%}")
    if growth >= 0.02:
        raise SystemExit("memory grew by 2 % or more")


if __name__ == "__main__":
    main()
