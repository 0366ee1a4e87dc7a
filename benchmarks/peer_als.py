"""Fits by packages of alternating least squares, each in the form that the package takes."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np

from peer_fit import Fit


def fit_implicit(fit: Fit) -> dict[str, Any]:
    from implicit.cpu.als import AlternatingLeastSquares

    confidence = fit.matrix()
    confidence.data = 1 + np.float32(fit.alpha) * confidence.data
    model = AlternatingLeastSquares(
        factors=fit.d, regularization=fit.reg, alpha=1.0, iterations=fit.n_iter, use_cg=True,
        num_threads=fit.threads, random_state=fit.seed,
    )  # fmt: skip
    with fit:
        model.fit(
            confidence,
            show_progress=False,
            callback=lambda number, seconds, loss: fit.iterations.append(float(seconds)),
        )
    return {"users": model.user_factors, "items": model.item_factors}


def fit_irspack(fit: Fit) -> dict[str, Any]:
    from irspack import IALSRecommender

    weights = fit.matrix()
    weights.data *= np.float32(fit.alpha)
    model = IALSRecommender(
        weights, n_components=fit.d, alpha0=1.0, reg=fit.reg, nu=0.0, loss_type="ORIGINAL",
        solver_type="CG", max_cg_steps=3, random_seed=fit.seed, n_threads=fit.threads,
        train_epochs=fit.n_iter,
    )  # fmt: skip
    with fit:
        model.start_learning()
        for _ in range(fit.n_iter):
            begin = time.perf_counter()
            model.run_epoch()
            fit.iterations.append(time.perf_counter() - begin)
    return {"users": model.get_user_embedding(), "items": model.get_item_embedding()}


def fit_cmfrec(fit: Fit) -> dict[str, Any]:
    from cmfrec import CMF, CMF_implicit

    triplets = fit.matrix().tocoo()
    exact = fit.task == "exact"
    shared: dict[str, Any] = {"k": fit.d, "niter": fit.n_iter, "use_cg": not exact}
    shared["max_cg_steps"] = 3
    shared |= {"finalize_chol": False, "use_float": True, "precompute_for_predictions": False}
    shared |= {"random_state": fit.seed, "nthreads": fit.threads, "verbose": False}
    if fit.task != "implicit":
        model = CMF(lambda_=fit.reg, method="als", scale_lam=True, **shared)
        with fit:
            model.fit(triplets)
        bias = {"user_bias": model.user_bias_, "item_bias": model.item_bias_}
        return {"users": model.A_, "items": model.B_, "mean": model.glob_mean_, **bias}
    # Its gradient steps weigh a one by 2 + alpha and aim at alpha / (2 + alpha). With these two its
    # minimum is that of Hu and Koren's objective, the factors shrunk by the root of `aim`.
    aim = (fit.alpha - 1) / (fit.alpha + 1)
    model = CMF_implicit(lambda_=fit.reg * aim, alpha=fit.alpha - 1, **shared)
    with fit:
        model.fit(triplets)
    return {"users": model.A_ / aim**0.5, "items": model.B_ / aim**0.5}


def fit_buffalo(fit: Fit) -> dict[str, Any]:
    import buffalo.data
    from buffalo import ALS, ALSOption
    from buffalo.data.mm import MatrixMarketOptions
    from buffalo.misc import log

    log.set_log_level(0)
    with tempfile.TemporaryDirectory() as folder:
        source = MatrixMarketOptions().get_default_option()
        source.input.main = fit.matrix()
        source.data.tmp_dir, source.data.path = folder + "/", folder + "/data.h5py"
        source.data.validation = {}  # else a hundredth is held out
        stored = buffalo.data.load(source)
        stored.create()
        option = ALSOption().get_default_option()
        option.d, option.num_iters, option.num_workers = fit.d, fit.n_iter, fit.threads
        option.reg_u = option.reg_i = fit.reg
        option.alpha, option.random_seed, option.validation = fit.alpha, fit.seed, {}
        option.optimizer, option.num_cg_max_iters = "manual_cg", 3
        option.compute_loss_on_training = False
        np.random.seed(fit.seed)  # noqa: NPY002 - what it draws from
        model = ALS(option, data=stored)
        model.initialize()
        with fit:
            model.train()
        return {"users": np.array(model.P), "items": np.array(model.Q)}


def fit_lenskit(fit: Fit) -> dict[str, Any]:
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.training import TrainingOptions

    triplets = fit.matrix().tocoo()
    columns = {"user_id": triplets.row, "item_id": triplets.col, "rating": triplets.data}
    stored = from_interactions_df(pd.DataFrame(columns))
    model = BiasedMFScorer(embedding_size=fit.d, epochs=fit.n_iter, regularization=fit.reg)
    with fit:
        trainer = model.create_trainer(stored, TrainingOptions(rng=fit.seed))
        for _ in range(fit.n_iter):
            begin = time.perf_counter()
            trainer.train_epoch()
            fit.iterations.append(time.perf_counter() - begin)
        trainer.finalize()

    def whole(ids: Any, known: Any, n: int) -> Any:
        table = np.zeros((n, *np.shape(known)[1:]), np.float32)
        table[np.asarray(ids, np.int64)] = np.asarray(known)
        return table

    users, items = model.users.ids(), model.items.ids()
    m, n = triplets.shape
    return {
        "users": whole(users, model.user_embeddings, m),
        "items": whole(items, model.item_embeddings, n),
        "user_bias": whole(users, model.bias.user_biases, m),
        "item_bias": whole(items, model.bias.item_biases, n),
        "mean": float(model.bias.global_bias),
    }
