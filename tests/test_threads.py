"""Fits beside one another, in several threads of Python."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF

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
