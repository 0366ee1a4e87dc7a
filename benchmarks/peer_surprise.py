"""A fit by Surprise's SVD, which is biased matrix factorization by SGD."""

from __future__ import annotations

from typing import Any

import numpy as np

from peer_fit import Fit


def fit_surprise(fit: Fit) -> dict[str, Any]:
    from surprise import SVD, Dataset, Reader

    triplets = fit.matrix().tocoo()
    scale = float(triplets.data.min()), float(triplets.data.max())
    entries = zip(*(a.tolist() for a in (triplets.row, triplets.col, triplets.data)), strict=True)
    train = Dataset(Reader(rating_scale=scale)).construct_trainset([(*e, None) for e in entries])
    model = SVD(
        n_factors=fit.d, n_epochs=fit.n_iter, lr_all=fit.rate, reg_all=fit.reg,
        random_state=fit.seed,
    )  # fmt: skip
    with fit:
        model.fit(train)
    m, n = triplets.shape
    users = [int(train.to_raw_uid(i)) for i in range(train.n_users)]
    items = [int(train.to_raw_iid(i)) for i in range(train.n_items)]

    def whole(ids: list[int], known: Any, size: int) -> Any:
        table = np.zeros((size, *np.shape(known)[1:]), np.float32)
        table[ids] = known
        return table

    return {
        "users": whole(users, model.pu, m),
        "items": whole(items, model.qi, n),
        "user_bias": whole(users, model.bu, m),
        "item_bias": whole(items, model.bi, n),
        "mean": float(train.global_mean),
    }
