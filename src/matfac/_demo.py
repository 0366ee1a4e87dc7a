"""What `matfac demo` runs: planted data with a known answer, fitted and looked at."""

from __future__ import annotations

import time

import numpy as np

from matfac import datasets, metrics, reference
from matfac._engine import show_config
from matfac._validation import check_threads
from matfac.explicit import ExplicitMF
from matfac.implicit import ImplicitMF


def demo(n_threads: int | None) -> None:
    """Fit ratings and clicks whose true factors are known, and time a sweep against NumPy."""
    config = show_config()
    threads = check_threads(n_threads)
    print(f"matfac {config['version']}: {config['simd']} kernels, {threads} threads\n")
    ratings = datasets.planted_ratings(
        n_users=6000, n_items=4000, nnz=1_000_000, rank=8, noise=0.6, levels=None, seed=1
    )
    _ratings(ratings, threads)
    _clicks(threads)
    _pace(ratings, threads)


def _ratings(data: datasets.PlantedRatings, threads: int) -> None:
    m, n = data.train.shape
    print(f"Ratings: {data.train.nnz:,} of {m:,} users x {n:,} items, planted rank 8 plus noise")
    users, items = data.test.tocoo().coords
    print(f"  error of the truth itself on held-out ratings: RMSE {data.noise_floor:.4f}")
    model = ExplicitMF()
    for solver in ("als", "sgd"):
        model = ExplicitMF(
            n_factors=16, solver=solver, reg=0.03, n_threads=threads, random_state=0, verbose=False
        )
        start = time.perf_counter()
        model.fit(data.train)
        seconds = time.perf_counter() - start
        error = metrics.rmse(data.test.tocoo().data, model.predict(users, items))
        print(f"  ExplicitMF(solver={solver!r}): RMSE {error:.4f} in {seconds:.2f} s")
    lists, scores = model.recommend([0], k=5)
    print(f"  user 0 should like items {_listed(lists[0], scores[0])}")
    lists, scores = model.similar_items([0], k=5)
    print(f"  items like item 0: {_listed(lists[0], scores[0])}\n")


def _listed(items: np.ndarray, scores: np.ndarray) -> str:
    return ", ".join(f"{item} ({score:.2f})" for item, score in zip(items, scores, strict=True))


def _clicks(threads: int) -> None:
    data = datasets.planted_clicks(6000, 4000, 500_000, rank=8, taste=4.0, seed=2)
    print(f"Clicks: {data.train.nnz:,}, and {data.test.nnz:,} held out")
    model = ImplicitMF(n_factors=8, reg=0.02, n_threads=threads, random_state=0, verbose=False)
    start = time.perf_counter()
    lists, _ = model.fit(data.train).recommend(k=10)
    seconds = time.perf_counter() - start
    own = metrics.evaluate(model, data.test, k=10, metrics="recall")
    popular = np.argsort(-data.train.sum(axis=0), kind="stable")[:10]
    top = np.nanmean(metrics.recall(np.tile(popular, (len(lists), 1)), data.test))
    print(
        f"  ImplicitMF: recall@10 {own['recall@10']:.4f} (the most popular items: {top:.4f}); "
        f"fitted, and 10 items for each of {len(lists):,} users, in {seconds:.2f} s\n"
    )


def _pace(data: datasets.PlantedRatings, threads: int) -> None:
    """Time one sweep of the same iteration by the core and by NumPy, from the same start."""
    matrix, k, reg = data.train.tocsr().astype(np.float32), 64, 0.05
    csr = (matrix.indptr, matrix.indices, matrix.data)
    csc = reference.transpose(csr, matrix.shape[1])
    counts = reference.entry_counts(csr, matrix.shape[1])
    rng = np.random.default_rng(0)
    sides = [rng.normal(0, 0.1, (n, k)).astype(np.float32) for n in matrix.shape]
    biases = [np.zeros(n, np.float32) for n in matrix.shape]
    mean = float(matrix.data.mean())
    start = time.perf_counter()
    for side, rows in ((0, csr), (1, csc)):
        sides[side], biases[side] = reference.explicit_half_sweep(
            rows,
            sides[1 - side],
            biases[1 - side],
            sides[side],
            biases[side],
            mean=mean,
            ridge=reference.row_ridge(counts[side], reg, 1.0),
            fixed_counts=counts[1 - side],
            cg_steps=3,
        )
    by_numpy = time.perf_counter() - start
    model = ExplicitMF(
        n_factors=k, reg=reg, n_iter=6, n_threads=threads, random_state=0, verbose=False
    ).fit(matrix)
    marks = [record["seconds"] for record in model.history_]
    by_core = float(np.median(np.diff(marks)))
    print(
        f"Pace: one ALS sweep over {matrix.nnz:,} ratings, 64 factors: core {by_core:.3f} s, "
        f"NumPy {by_numpy:.3f} s, {by_numpy / by_core:.0f} times as long"
    )
