"""Compression of a real network, MiniLM-L6: errors, an end to end table, and speed.

Run with the extra [bench] and with torch, tokenizers and transformers; see benchmarks/minilm.py for
the weights and the sentences. Every bar is asserted; `--only` runs one part. (Not compression.py:
beside other scripts that name would hide the standard library's package, which Cython looks for.)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.stats
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

import machine
import minilm
from matfac import LowRankMF, compress, compress_model, reference
from matfac._tensor_file import TensorFile
from matfac._truncated import truncated_svd
from matfac.torch_layers import input_statistics, load_compressed

SOURCE = minilm.folder() / "model.safetensors"
CALIBRATION, EVALUATION = 200, 150
BUDGETS = (0.75, 0.5, 0.25)


def matrices() -> dict[str, np.ndarray]:
    file = TensorFile(SOURCE)
    return {
        name: file.floats(name)
        for name, tensor in file.tensors.items()
        if len(tensor.shape) == 2 and tensor.code == "F32" and min(tensor.shape) > 2
    }


def original() -> minilm.Encoder:
    encoder = minilm.Encoder()
    load_compressed(encoder.model, SOURCE)
    return encoder


def optimum() -> None:
    """Every matrix at half its parameters, against all its singular values by LAPACK."""
    print("\n## Plain error against Eckart and Young's optimum, at half the parameters\n")
    worst, ratios = 0.0, []
    for W in matrices().values():
        small = compress(W, budget=0.5)
        rest = scipy.linalg.svdvals(W.astype(np.float64))[small.rank :]
        best = float(np.sqrt(np.sum(rest**2)))
        error = float(np.linalg.norm(W.astype(np.float64) - small.A.astype(np.float64) @ small.B))
        worst = max(worst, error / best - 1)
        ratios.append(small.relative_error)
    print(f"{len(ratios)} matrices: worst excess over the optimum {worst:.1e} (bar 1e-4); ", end="")
    print(f"relative errors {min(ratios):.3f} to {max(ratios):.3f}")
    assert worst <= 1e-4


def whitened(encoder: minilm.Encoder, texts: list[str]) -> None:
    """Errors of the outputs at the inputs that real sentences make in the model's first layers."""
    print("\n## Error of the outputs, whitened against plain, at the same rank\n")
    inputs: dict[str, list[np.ndarray]] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, given, name=name: inputs.setdefault(name, []).append(
                given[0].detach().reshape(-1, given[0].shape[-1]).numpy()
            )
        )
        for name, module in encoder.model.named_modules()
        if name.startswith(("encoder.layer.0.", "encoder.layer.1."))
        and type(module).__name__ == "Linear"
    ]
    encoder.vectors(texts)
    for hook in hooks:
        hook.remove()
    print("| layer | rank | plain | whitened | lower by | on the whitening's own tokens |")
    print("|---|---|---|---|---|---|")
    cuts, own = [], []
    for name, parts in inputs.items():
        rows = np.concatenate(parts).astype(np.float64)
        fit, test = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        W = encoder.model.get_parameter(f"{name}.weight").detach().numpy()
        plain = compress(W, budget=0.5)
        white = compress(W, rank=plain.rank, inputs=fit)
        figures, seen = (
            [
                np.linalg.norm(X @ (W - c.A @ c.B).T) / np.linalg.norm(X @ W.T)
                for c in (plain, white)
            ]
            for X in (test, fit)
        )
        cuts.append(1 - figures[1] / figures[0])
        own.append(1 - seen[1] / seen[0])
        print(f"| {name} | {plain.rank} | {figures[0]:.4f} | {figures[1]:.4f} | ", end="")
        print(f"{cuts[-1]:.1%} | {own[-1]:.1%} |")
    print(
        f"\nMean {np.mean(cuts):.1%}, least {min(cuts):.1%} on tokens that the whitening has not "
        f"seen (bar for the mean: 30 %); {np.mean(own):.1%} and {min(own):.1%} on its own "
        "(bar for every layer: 30 %)."
    )
    assert np.mean(cuts) >= 0.3
    assert min(own) >= 0.3


def by_element(encoder: minilm.Encoder, texts: list[str]) -> None:
    """Element-wise Fisher weights: every sweep lowers the error, and so below the closed forms."""
    print("\n## Element-wise Fisher weights, at half the parameters: weighted errors\n")
    print("| layer | plain SVD | FWSVD | weighted ALS: start | end | sweeps |")
    print("|---|---|---|---|---|---|")
    for layer in (0, 5):
        for part in ("attention.self.query", "intermediate.dense", "output.dense"):
            name = f"encoder.layer.{layer}.{part}.weight"
            F = encoder.fisher(name, texts)
            W = encoder.model.get_parameter(name).detach().numpy().astype(np.float64)
            norm = np.sqrt(np.vdot(F, W**2))
            found = compress(W, budget=0.5, element_weights=F, n_iter=30)
            closed = [
                compress(W, rank=found.rank),
                compress(W, rank=found.rank, row_weights=F.sum(axis=1)),
            ]
            plain, rows = (np.sqrt(np.vdot(F, (W - c.A @ c.B) ** 2)) / norm for c in closed)
            path = np.array(found.history) / norm
            print(
                f"| {name} | {plain:.4f} | {rows:.4f} | {path[0]:.4f} | "
                f"{found.relative_error:.4f} | {len(path) - 1} |"
            )
            assert (np.diff(path) <= 1e-10 * path[0]).all()
            assert found.relative_error < min(path[0], plain, rows)


def end_to_end(encoder: minilm.Encoder, calibration: list[str], texts: list[str]) -> None:
    """Do similarities between sentences keep their order?"""
    print("\n## Similarities of sentences, compressed against original: Spearman's rho\n")
    upper = np.triu_indices(len(texts), 1)
    vectors = encoder.vectors(texts)
    wanted = (vectors @ vectors.T)[upper]
    statistics_of = input_statistics(encoder.model, encoder.batches(calibration))
    print("| parameters kept | plain | weighted |")
    print("|---|---|---|")
    for budget in BUDGETS:
        row = []
        for given in (None, statistics_of):
            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / "small.safetensors"
                report = compress_model(SOURCE, target, budget=budget, statistics=given)
                thin = minilm.Encoder()
                load_compressed(thin.model, target)
                assert target.stat().st_size < (budget + 0.02) * SOURCE.stat().st_size
            small = thin.vectors(texts)
            row.append(scipy.stats.spearmanr(wanted, (small @ small.T)[upper]).statistic)
        kept = report.parameters_after / report.parameters_before
        print(f"| {kept:.1%} | {row[0]:.4f} | {row[1]:.4f} |", flush=True)
        assert row[1] > row[0]


def in_turn(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds, A B C A B C."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            time.sleep(0.1)  # OpenBLAS's threads spin on for a while after their last call
            begin = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def excess(W: np.ndarray, left: Any, singular: Any, right: Any) -> float:
    rest = scipy.linalg.svdvals(W.astype(np.float64))[len(singular) :]
    found = np.linalg.norm(W - (left * singular.astype(W.dtype)) @ right)
    return float(found / np.sqrt(np.sum(rest**2)) - 1)


def speed_of_svd(repeats: int) -> None:
    print("\n## Truncated factorization at rank 64, 1 BLAS thread\n")
    print(
        "| matrix | matfac, s | excess | randomized_svd, s | excess | at equal error, s | excess |"
    )
    print("|---|---|---|---|---|---|---|")
    wanted = (
        "embeddings.word_embeddings.weight",
        "encoder.layer.0.intermediate.dense.weight",
    )
    with threadpool_limits(1, user_api="blas"):
        for name in wanted:
            W = matrices()[name]
            own = excess(W, *truncated_svd(W, 64))
            n_iter = 4
            while excess(W, *randomized_svd(W, 64, n_iter=n_iter, random_state=0)) > 1e-4:
                n_iter *= 2
            works: dict[str, Callable[[], Any]] = {
                "own": lambda W=W: truncated_svd(W, 64),
                "default": lambda W=W: randomized_svd(W, 64, random_state=0),
                "equal": lambda W=W, n=n_iter: randomized_svd(W, 64, n_iter=n, random_state=0),
            }
            seconds = in_turn(works, repeats)
            figures = [own] + [excess(W, *works[key]()) for key in ("default", "equal")]
            print(f"| {' x '.join(map(str, W.shape))} ", end="")
            for (_, value), error in zip(seconds.items(), figures, strict=True):
                print(f"| {value:.4f} | {error:.1e} ", end="")
            print(f"|  (n_iter={n_iter})", flush=True)
            assert seconds["own"] <= seconds["equal"]


def speed_of_als(repeats: int) -> None:
    print("\n## Weighted ALS, 2000 x 2000, random weights, r = 32: seconds per sweep\n")
    rng = np.random.default_rng(0)
    n, r = 2000, 32
    X = rng.standard_normal((n, r)) @ rng.standard_normal((r, n)) + rng.standard_normal((n, n))
    weights = rng.random((n, n))
    values: list[Callable[[], float]] = []  # of the objective, after the last sweep
    right = np.ascontiguousarray(
        LowRankMF(r, n_iter=1, tol=0.0).fit(X, weights=weights).components_.T
    )

    def core(dtype: str) -> Callable[[], None]:
        from matfac import _engine
        from matfac._cells import Cells
        from matfac._dense_als import DenseAls

        cells = Cells(X.astype(dtype), weights.astype(dtype)).ratings
        start = (np.zeros((n, r), dtype), right.astype(dtype))
        solver = DenseAls(
            cells, start, reg=0.0, reg_exponent=1.0, nonnegative=False,
            n_threads=machine.describe()["matfac"]["threads"],
        )  # fmt: skip

        def sweep() -> None:
            solver.tables["items"][:, :r] = right
            with _engine.single_threaded_blas():
                solver.half(0)
                solver.half(1)

        values.append(solver.value)
        return sweep

    def twin(threads: int) -> Callable[[], None]:
        sides = [right, right]

        def sweep() -> None:
            with threadpool_limits(threads, user_api="blas"):
                sides[0] = reference.weighted_half_sweep(X, weights, right, 0.0)
                sides[1] = reference.weighted_half_sweep(X.T, weights.T, sides[0], 0.0)

        values.append(
            lambda: reference.weighted_objective(X, weights, sides[0], sides[1].T, (0.0, 0.0))
        )
        return sweep

    works = {
        "core float32": core("float32"),
        "core float64": core("float64"),
        "NumPy float64, 1 BLAS thread": twin(1),
        "NumPy float64, 2 BLAS threads": twin(2),
    }
    seconds = in_turn(works, repeats)
    reached = [value() for value in values]
    assert max(reached) - min(reached) <= 1e-5 * min(reached), reached
    best = min(value for name, value in seconds.items() if name.startswith("NumPy"))
    for name, value in seconds.items():
        print(f"- {name}: {value:.3f} s; the best NumPy takes {best / value:.1f} times as long")
    print(f"Objective {reached[0]:.6g} from all. NumPy is `reference.weighted_half_sweep`.")
    assert best / seconds["core float32"] >= 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("optimum", "whitened", "element", "end", "svd", "als")
    parser.add_argument("--only", choices=parts, action="append")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    only = args.only or parts
    print({key: value for key, value in machine.describe().items() if key != "matfac"})
    if "optimum" in only:
        optimum()
    if {"whitened", "element", "end"} & set(only):
        texts = minilm.sentences(CALIBRATION + EVALUATION)
        calibration, evaluation = texts[:CALIBRATION], texts[CALIBRATION:]
        encoder = original()
        if "whitened" in only:
            whitened(encoder, calibration)
        if "element" in only:
            by_element(encoder, calibration[:48])
        if "end" in only:
            end_to_end(encoder, calibration, evaluation)
    if "svd" in only:
        speed_of_svd(args.repeats)
    if "als" in only:
        speed_of_als(args.repeats)


if __name__ == "__main__":
    main()
