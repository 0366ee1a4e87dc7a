"""What estimators of feedback watch on a validation set."""

from __future__ import annotations

import numpy as np

from matfac import _core
from matfac._evaluate import list_metrics
from matfac._fit import FittingSolver
from matfac._loop import Validation
from matfac._ratings import Ratings

# Users whose lists the validation metric looks at: the metric's error is far below its differences.
VALIDATION_USERS = 20_000


def ndcg_of(solver: FittingSolver, train: Ratings, held_out: Ratings, n_threads: int) -> Validation:
    """Return NDCG@10 of held-out entries, with the items of `train` left out of the lists."""
    users = np.flatnonzero(np.diff(held_out.indptr))[:VALIDATION_USERS]
    seen = train.rows(users)
    relevant = held_out.rows(users)

    def ndcg() -> float:
        lists, _ = _core.top_k(
            k=solver.k,
            queries=np.ascontiguousarray(solver.tables["users"][users]),
            items=solver.tables["items"],
            item_bias=solver.biases()[1],
            exclude=[seen],
            n_best=10,
            n_threads=n_threads,
        )
        return float(list_metrics(lists, relevant, 10, n_threads)["ndcg"].mean())

    return Validation("ndcg@10", ndcg, higher_is_better=True)
