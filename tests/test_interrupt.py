"""Ctrl-C reaches every long native call within 0.2 s, and leaves a whole model or none."""

from __future__ import annotations

import copy
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from matfac import (
    ExplicitMF,
    ImplicitMF,
    RankingMF,
    _core,
    _engine,
    _validation,
    compress,
    load,
    model_io,
)
from matfac._als import random_table
from matfac._interruptible import over_entries, wait_for_left_calls
from matfac._loop import _Snapshot
from matfac._ratings import Ratings
from matfac._sgd import make_plan

WITHIN = 0.2  # seconds


@cache
def big(m: int = 40_000, n: int = 8_000, each: int = 100) -> Ratings:
    """4 million ratings: every call below takes long enough to be met on its way."""
    rng = np.random.default_rng(0)
    step = n // each
    columns = rng.integers(0, step, (m, each), dtype=np.int32)
    columns += step * np.arange(each, dtype=np.int32)
    values = rng.integers(1, 6, m * each).astype(np.float32)
    return Ratings((m, n), np.arange(m + 1, dtype=np.int64) * each, columns.ravel(), values)


def matrix() -> sp.csr_array:
    r = big()
    return sp.csr_array((r.values, r.indices, r.indptr), shape=r.shape)


def interrupted(work: Callable[[], Any], after: float) -> float:
    """Send SIGINT `after` seconds into `work`; return how long the interrupt took to come.

    In seconds, or in this process's processor seconds where other processes were in the way.
    """
    sent: list[tuple[float, float]] = []

    def send() -> None:
        time.sleep(after)
        sent.append((time.perf_counter(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    took = np.inf
    try:
        sender.start()
        work()
        time.sleep(60)  # it was faster: the signal is still to come
    except KeyboardInterrupt:
        now = (time.perf_counter(), time.process_time())
        took = min(b - a for a, b in zip(sent[0], now, strict=True))
    sender.join()
    return took


def half_sweep(loss: str, cg_steps: int, k: int) -> Callable[[], Any]:
    r, generator = big(), np.random.default_rng(0)
    users, items = (random_table(n, k, 0.1, np.float32, generator) for n in r.shape)
    ridge = np.full(r.shape[0], 0.1, np.float32)
    return lambda: _core.half_sweep(
        r.core, loss=loss, alpha=0.1, k=k, fixed=items, solved=users, ridge=ridge,
        cg_steps=cg_steps, n_threads=1,
    )  # fmt: skip


def sgd_epoch() -> Callable[[], Any]:
    r, generator, k = big(), np.random.default_rng(0), 128
    plan = make_plan(r.core, k, 0, 1)
    users, items = (random_table(n, k, 0.1, np.float32, generator) for n in r.shape)
    user_rows, item_rows = (np.full((n, 4), 100, np.float32) for n in r.shape)
    return lambda: plan.epoch(
        k=k, users=users, items=items, user_rows=user_rows, item_rows=item_rows, mean=3.0,
        rate=1e-3, bias_rate=1.0, bias=True, number=0, deterministic=True, n_threads=1,
    )  # fmt: skip


def top_k() -> Callable[[], Any]:
    generator = np.random.default_rng(0)
    queries, items = (random_table(n, 128, 0.1, np.float32, generator) for n in (256, 200_000))
    return lambda: _core.top_k(k=128, queries=queries, items=items, n_best=10, n_threads=1)


CALLS: dict[str, Callable[[], Callable[[], Any]]] = {
    "half sweep, exact": lambda: half_sweep("ratings", 0, 128),
    "half sweep, cg": lambda: half_sweep("ratings", 3, 128),
    "half sweep, implicit": lambda: half_sweep("ials", 3, 128),
    "sgd plan": lambda: lambda: make_plan(big().core, 64, 0, 1),
    "sgd epoch": sgd_epoch,
    "transpose": lambda: lambda: _engine.transpose(big().core, 1),
    "top_k": top_k,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_native_call_is_left_at_once(name: str) -> None:
    work = CALLS[name]()
    for after in (0.01, 0.06):
        assert interrupted(work, after) < WITHIN


@pytest.mark.parametrize("rank", [64, 400])
def test_a_decomposition_is_left_to_itself(rank: int) -> None:
    """LAPACK cannot be stopped; what called it comes back all the same."""
    W = np.random.default_rng(0).standard_normal((1500, 1500)).astype(np.float32)
    try:
        assert interrupted(lambda: compress(W, rank=rank), 0.1) < WITHIN
    finally:
        wait_for_left_calls()


def test_the_core_leaves_a_decomposition_to_itself() -> None:
    k = 1800
    table = random_table(300, k, 1.0, np.float32, np.random.default_rng(0))
    try:
        assert interrupted(lambda: _core.shared_basis(table, k=k, n_threads=1), 0.3) < WITHIN
    finally:
        _core.wait_for_calls_aside()


LEFT = """
import os, signal, sys, threading
import numpy as np
from matfac import ImplicitMF, compress

signal.signal(signal.SIGINT, signal.default_int_handler)
W = np.random.default_rng(0).standard_normal((1200, 1200)).astype(np.float32)
work = {
    "compress": lambda: compress(W, rank=300),
    "fit": lambda: ImplicitMF(1000, n_iter=1000).fit(np.abs(W[:300, :200])),
}[sys.argv[1]]
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    work()
except KeyboardInterrupt:
    child = os.fork()
    assert np.isfinite(W @ W).all()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    else:
        os._exit(0)
"""


@pytest.mark.parametrize("work", ["compress", "fit"])
def test_a_process_forks_and_ends_after_a_call_that_was_left(work: str) -> None:
    for after in ("0.1", "0.3"):
        command = [sys.executable, "-W", "ignore", "-c", LEFT, work, after]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


FITS: dict[str, Callable[[], Any]] = {
    "als": lambda: ExplicitMF(n_factors=32, n_iter=1, cg_steps=1),
    "als, exact": lambda: ExplicitMF(n_factors=32, n_iter=1, cg_steps=None),
    "sgd": lambda: ExplicitMF(n_factors=32, n_iter=1, solver="sgd"),
    "ials": lambda: ImplicitMF(n_factors=32, n_iter=1, cg_steps=1),
}


@pytest.mark.parametrize("name", FITS)
def test_the_last_half_sweep_is_left_with_the_epoch_before_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows the last epoch may be interrupted too: the model is that of the epoch."""
    X = matrix()
    model = FITS[name]()
    tables: dict[str, Any] = {}

    def last(epoch: int, record: Any) -> None:
        frame = threading.Thread(target=lambda: (time.sleep(0.02), os.kill(os.getpid(), 2)))
        tables["sent"] = time.perf_counter(), time.process_time()
        frame.start()

    model.set_params(callback=last, n_threads=1, random_state=0)

    def fit_and_wait() -> None:
        model.fit(X)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        fit_and_wait()
    now = (time.perf_counter(), time.process_time())
    assert min(b - a for a, b in zip(tables["sent"], now, strict=True)) < WITHIN + 0.02
    assert model.n_iter_ == len(model.history_) == 1
    again = FITS[name]().set_params(n_threads=1, random_state=0).fit(X)
    if name != "ials":  # whose last half sweep turns the items to another basis
        np.testing.assert_array_equal(model.item_factors_, again.item_factors_)
    assert np.isfinite(model.predict(np.arange(9), np.arange(9))).all()


@pytest.mark.parametrize("n_features", [500, 20_000])
def test_a_fit_with_features_is_left_at_once(n_features: int) -> None:
    """Also after an epoch: its model needs no more solving."""
    X = matrix()
    rng = np.random.default_rng(1)
    users, items = (
        sp.csr_array(
            (np.ones(5 * n), rng.integers(0, n_features, 5 * n), np.arange(n + 1) * 5),
            shape=(n, n_features),
        )
        for n in X.shape
    )
    ended: list[float] = []
    model = ExplicitMF(
        n_factors=64, n_iter=2, callback=lambda *_: ended.append(time.perf_counter())
    )
    start = time.perf_counter()
    model.fit(X, user_features=users, item_features=items)
    first, last = (at - start for at in ended)
    for after in np.linspace(first, last, 6):
        fit = lambda: model.fit(X, user_features=users, item_features=items)  # noqa: E731
        assert interrupted(fit, float(after)) < WITHIN


@pytest.mark.parametrize("name", FITS)
def test_a_model_left_with_padded_factors_serves_as_any(name: str, tmp_path: Path) -> None:
    """Its factors are not copied: that would take the longer the larger they are."""
    X = matrix()[:300, :200]

    def stop(epoch: int, record: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    model = FITS[name]().set_params(n_factors=5, n_iter=9, callback=stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == 3
    assert model.item_factors_.shape == (200, 5)
    assert not model.item_factors_.flags.writeable
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    for other in (again, copy.deepcopy(model)):
        np.testing.assert_array_equal(other.item_factors_, model.item_factors_)
        np.testing.assert_array_equal(other.recommend(k=4)[0], model.recommend(k=4)[0])
        np.testing.assert_array_equal(other.transform(X[:9]), model.transform(X[:9]))
        np.testing.assert_array_equal(
            other.similar_items([1, 2])[1], model.similar_items([1, 2])[1]
        )


@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_is_done_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = _engine.all_finite, itertools.count()

    def late(table: Any) -> bool:
        if next(calls) == 0:
            raise KeyboardInterrupt
        return real(table)

    monkeypatch.setattr(_engine, "all_finite", late)
    model = FITS[name]().set_params(n_factors=5, n_iter=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(matrix()[:300, :200])
    assert model.n_iter_ == len(model.history_) == 3
    assert model.recommend([0], k=2)[0].shape == (1, 2)


@pytest.mark.parametrize("of", ["matrix", "split"])
def test_passes_over_all_entries_are_left_to_themselves(
    of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy and SciPy see no signals; what called them comes back all the same."""
    X, ended = matrix(), threading.Event()

    def long(*args: Any) -> Any:
        ended.wait()
        raise RuntimeError("nobody hears this")

    if of == "matrix":
        monkeypatch.setattr(_validation, "_from_sparse", long)
    else:
        monkeypatch.setattr(ExplicitMF, "_split", long)
    model = ExplicitMF(early_stopping=True)
    try:
        assert interrupted(lambda: model.fit(X), 1.0) < WITHIN
    finally:
        ended.set()
        wait_for_left_calls()
    assert not hasattr(model, "n_features_in_")


def test_what_cannot_be_done_aside_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert over_entries(1e9, threading.current_thread) is threading.main_thread()


def test_a_file_is_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between which Ctrl-C is seen; the file is the same."""
    arrays = {"a": np.arange(1000.0), "b": np.arange(7, dtype=np.uint8), "none": np.empty((0, 3))}
    model_io.write(tmp_path / "whole", arrays, {"answer": 42})
    monkeypatch.setattr(model_io, "_PART", 100)
    model_io.write(tmp_path / "parts", arrays, {"answer": 42})
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    again, meta = model_io.read(tmp_path / "whole", mmap=False)
    assert meta == {"answer": 42}
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_many_passes_over_long_rows_are_left_at_once() -> None:
    n = 100_000
    one = sp.csr_array((np.ones(n), np.arange(n), [0, n]), shape=(1, 2 * n))
    model = RankingMF(64, loss="softmax", negatives=16, n_iter=1, n_threads=1)
    model.fit(sp.csr_array((np.ones(3), ([0, 1, 2], [5, 6, 7])), shape=(3, 2 * n)))
    assert interrupted(lambda: model.transform(one), 0.3) < WITHIN


def test_a_dense_answer_is_left_at_once() -> None:
    model = ImplicitMF(n_factors=16, n_iter=1).fit(matrix()[:500])
    codes = np.ones((30_000, 16), np.float32)
    assert interrupted(lambda: model.inverse_transform(codes), 0.05) < WITHIN


def test_the_copy_of_a_large_table_is_left_at_once() -> None:
    tables = {"users": np.ones((100_000, 512), np.float32)}

    def keep() -> None:
        while True:
            _Snapshot(tables, 1).take(1)

    assert interrupted(keep, 0.1) < WITHIN


def test_an_interrupt_before_the_first_epoch_leaves_the_model_unfitted() -> None:
    X = matrix()
    for solver in ("als", "sgd"):
        model = ExplicitMF(n_factors=512, solver=solver, cg_steps=None, n_threads=1)
        assert interrupted(lambda: model.fit(X), 0.25) < WITHIN  # noqa: B023
        assert not hasattr(model, "user_factors_")
        assert not hasattr(model, "n_features_in_")


def test_a_second_fit_that_is_interrupted_early_keeps_the_first() -> None:
    small = matrix()[:50, :40]
    model = ExplicitMF(n_factors=128, cg_steps=None, n_threads=1, random_state=0).fit(small)
    before = model.predict(small)
    X = matrix()
    assert interrupted(lambda: model.fit(X), 0.25) < WITHIN
    np.testing.assert_array_equal(model.predict(small), before)
