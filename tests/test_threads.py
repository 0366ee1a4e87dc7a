"""Fits beside one another and beside others' threads (crowd.py measures what that costs), and what
all threads do together outside the solvers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF, _core

RATINGS = random_ratings(120, 90, 0.25, seed=1)
CLICKS = random_ratings(120, 90, 0.2, seed=2, implicit=True)


def test_blas_gets_its_threads_back_from_fits_that_overlap() -> None:
    def blas_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    began, ended = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        began.set()
        assert ended.wait(60)

    with threadpool_limits(2, "blas"):
        longer = ExplicitMF(n_factors=4, n_iter=1, random_state=0, callback=hold)
        thread = threading.Thread(target=longer.fit, args=(RATINGS,))

        def start_longer(*_: Any) -> None:
            thread.start()
            assert began.wait(60)

        ExplicitMF(n_factors=4, n_iter=1, random_state=0, callback=start_longer).fit(RATINGS)
        assert blas_threads() == {1}  # the second, which began within the first, goes on
        ended.set()
        thread.join()
        assert blas_threads() == {2}


def test_fits_in_several_python_threads_agree() -> None:
    models: dict[int, Any] = {}

    def fit(i: int) -> None:
        models[i] = ImplicitMF(n_factors=5, random_state=0, n_threads=2).fit(CLICKS)

    threads = [threading.Thread(target=fit, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in (1, 2):
        np.testing.assert_array_equal(models[i].user_factors_, models[0].user_factors_)


def fitted_factors(seed: int) -> np.ndarray:
    exact = ImplicitMF(n_factors=5, random_state=seed).fit(CLICKS).user_factors_
    racing = ExplicitMF(5, solver="sgd", deterministic=True, random_state=seed).fit(RATINGS)
    return np.hstack((exact, racing.user_factors_))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_changes_no_result(backend: str) -> None:
    found = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fitted_factors)(seed) for seed in range(4)
    )
    for seed, factors in enumerate(found):
        np.testing.assert_array_equal(factors, fitted_factors(seed))


def test_omp_num_threads_is_heeded_and_changes_no_result(tmp_path: Path) -> None:
    code = (
        "import sys, numpy, matfac, test_threads\n"
        "numpy.save(sys.argv[1], test_threads.fitted_factors(0))\n"
        "print(matfac.show_config()['threads'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "factors.npy")],
        env={**os.environ, "OMP_NUM_THREADS": "3"}, cwd=Path(__file__).parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3"]
    np.testing.assert_array_equal(np.load(tmp_path / "factors.npy"), fitted_factors(0))


def test_fits_beside_scikit_learns_openmp() -> None:
    stop, centres = threading.Event(), []

    def cluster() -> None:
        points = np.random.default_rng(0).normal(size=(500, 8))
        while not stop.is_set():
            centres.append(KMeans(4, n_init=1, random_state=0).fit(points).cluster_centers_)

    alone = fitted_factors(0)
    thread = threading.Thread(target=cluster)
    thread.start()
    try:
        for _ in range(5):
            np.testing.assert_array_equal(fitted_factors(0), alone)
    finally:
        stop.set()
        thread.join()
    for found in centres:
        np.testing.assert_array_equal(found, centres[0])


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("offset", [0, 1, 5])
@pytest.mark.parametrize("size", [0, 1, 7, 70_000])
def test_arrays_are_copied_whole_and_no_farther(
    size: int, offset: int, n_threads: int, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    array = rng.random((size, 3)).astype(dtype)
    store = np.zeros(offset + array.size + 9, dtype)
    _core.copy_array(
        store[offset : offset + array.size].reshape(array.shape), array, n_threads=n_threads
    )
    np.testing.assert_array_equal(store[offset : offset + array.size], array.ravel())
    assert not store[:offset].any()
    assert not store[offset + array.size :].any()
    with pytest.raises(ValueError, match="to must have the shape of array"):
        _core.copy_array(store, array, n_threads=n_threads)
