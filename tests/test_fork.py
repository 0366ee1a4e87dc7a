"""Processes that fork after a fit, as preloading servers and multiprocessing do, do not hang."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF
from matfac._model import FactorModel

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

RATINGS = random_ratings(300, 200, 0.1, seed=5)
PARAMETERS: dict[str, Any] = {"n_factors": 8, "n_iter": 3, "random_state": 0, "n_threads": 2}
MODELS = {
    "als": ExplicitMF(**PARAMETERS),
    "sgd": ExplicitMF(solver="sgd", deterministic=True, **PARAMETERS),
    "implicit": ImplicitMF(**PARAMETERS),
}
SECONDS = 60  # a child that hangs does so for ever


def answers(model: FactorModel) -> dict[str, np.ndarray]:
    """Return what a service asks of a model; every call starts threads of the core."""
    lists, scores = model.recommend(k=5)
    neighbours, _ = model.similar_items(np.arange(100), k=5)
    return {
        "lists": lists,
        "scores": scores,
        "neighbours": neighbours,
        "folded": model.transform(RATINGS),
        "predicted": model.predict(np.arange(300), np.arange(300) % 200),
    }


def refit(model: FactorModel) -> dict[str, np.ndarray]:
    return answers(model.fit(RATINGS))


def in_children(
    count: int, work: Callable[[FactorModel], dict[str, np.ndarray]], model: FactorModel
) -> list[dict[str, np.ndarray]]:
    """Run work(model) in forked processes, one after another, each forked from here."""
    context = multiprocessing.get_context("fork")
    results = []
    for _ in range(count):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=lambda end=theirs: end.send(work(model)))
        child.start()
        theirs.close()
        try:
            assert ours.poll(SECONDS), "the forked child hung"
            results.append(ours.recv())
            child.join(SECONDS)
            assert child.exitcode == 0
        finally:
            child.kill()
            child.join()
    return results


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_children_serve_and_fit_after_a_fit_in_the_parent(name: str) -> None:
    model = MODELS[name].fit(RATINGS)
    wanted = answers(model)
    for work in (answers, refit):
        for found in in_children(2, work, model):
            assert_same(found, wanted)
    assert_same(answers(model), wanted)  # the parent works on, with a new pool


def test_only_the_child_fits() -> None:
    model = ImplicitMF(**PARAMETERS)
    (found,) = in_children(1, refit, model)
    assert not hasattr(model, "item_factors_")
    assert_same(found, refit(model))


def test_pool_of_processes() -> None:
    model = MODELS["als"].fit(RATINGS)
    wanted = answers(model)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for found in pool.map(answers, [model] * 4, timeout=SECONDS):
            assert_same(found, wanted)


def test_fork_of_a_fork() -> None:
    model = MODELS["implicit"].fit(RATINGS)
    wanted = answers(model)

    def fork_again(model: FactorModel) -> dict[str, np.ndarray]:
        answers(model)
        (found,) = in_children(1, answers, model)
        return found

    (found,) = in_children(1, fork_again, model)
    assert_same(found, wanted)


def test_fork_while_another_thread_fits() -> None:
    model = MODELS["als"].fit(RATINGS)
    wanted = answers(model)
    started, stop = threading.Event(), threading.Event()

    def each_epoch(*_: Any) -> bool:
        started.set()
        return stop.is_set()

    long = ImplicitMF(**{**PARAMETERS, "n_iter": 10**6}, callback=each_epoch)
    thread = threading.Thread(target=long.fit, args=(RATINGS,))
    thread.start()
    try:
        assert started.wait(SECONDS)
        for found in in_children(3, refit, model):
            assert_same(found, wanted)
    finally:
        stop.set()
        thread.join(SECONDS)
    assert not thread.is_alive()


def test_fork_inside_a_callback() -> None:
    served: list[dict[str, np.ndarray]] = []
    model = MODELS["als"].fit(RATINGS)

    def fork(*_: Any) -> None:
        served.extend(in_children(1, refit, model))

    other = ImplicitMF(**{**PARAMETERS, "n_iter": 2}, callback=fork).fit(RATINGS)
    assert len(served) == 2
    wanted = answers(model)
    for found in served:
        assert_same(found, wanted)
    np.testing.assert_array_equal(
        other.item_factors_,
        ImplicitMF(**{**PARAMETERS, "n_iter": 2}).fit(RATINGS).item_factors_,
    )


def test_a_fork_keeps_the_limit_of_blas_that_its_thread_has_set_alone() -> None:
    program = """
import os, threading, warnings
from contextlib import nullcontext
from threadpoolctl import threadpool_info
from matfac._engine import single_threaded_blas
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
began, ended = threading.Event(), threading.Event()
def fit():
    with single_threaded_blas():
        began.set()
        ended.wait()
full = blas()
thread = threading.Thread(target=fit)
thread.start()
began.wait()
for wanted, own in ((full, nullcontext()), ({1}, single_threaded_blas())):
    with own:
        child = os.fork()
        if child == 0:
            os._exit(blas() != wanted)
        print(os.waitpid(child, 0)[1], end=" ")
print(blas() == {1}, end=" ")
ended.set()
thread.join()
print(blas() == full)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.stdout == "0 0 True True\n", done.stderr


def test_a_killed_child_leaves_the_progress_bar_to_its_parent() -> None:
    program = """
import os, signal
from matfac._progress import Bar
read, write = os.pipe()
child = os.fork()
if child == 0:
    Bar.get_lock().acquire()
    os.write(write, b"held")
    signal.pause()
os.read(read, 4)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
Bar(total=1, disable=True).close()
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "done\n", done.stderr
