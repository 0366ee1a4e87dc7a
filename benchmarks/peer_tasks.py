"""What packages are compared on: the models, their settings, and the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

import cases
from matfac.datasets import load_movielens, load_split, planted_ratings

OWN = "matfac"
TEST_SHARE = 0.1


@dataclass(frozen=True)
class Task:
    """A model, its peers, and the settings of both sides."""

    key: str
    title: str
    peers: tuple[str, ...]
    goal: str  # "objective", "held-out RMSE", or "" where objectives differ: seconds a sweep alone
    n_iter: dict[str, int]  # the peers', and where the search for matfac's begins
    shared: dict[str, float]
    # Learning rates: the peer takes its best of these, matfac the one.
    rates: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def clicks(self) -> bool:
        return self.key == "implicit"


TASKS = {
    task.key: task
    for task in (
        Task(
            "implicit", "implicit ALS", ("implicit", "irspack", "cmfrec", "buffalo", "ialspp"),
            "objective", {"peer": 10, OWN: 10}, {"reg": 1.0, "alpha": 10.0},
        ),
        Task(
            "explicit", "explicit ALS", ("cmfrec",), "held-out RMSE", {"peer": 10, OWN: 10},
            {"reg": 0.05},
        ),
        Task(
            "exact", "explicit ALS, Cholesky", ("lenskit", "cmfrec"), "", {"peer": 2, OWN: 3},
            {"reg": 0.05},
        ),
        Task(
            "sgd", "explicit SGD", ("libmf",), "held-out RMSE", {"peer": 20, OWN: 8},
            {"reg": 0.05}, {"peer": (0.05, 0.1, 0.2), OWN: (2.0,)},
        ),
    )
}  # fmt: skip
NAMES = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.peers))
# The ridge and rate that suit matfac's SGD there; LIBMF has no exponent to choose.
OWN_SETTINGS = {("sgd", "ml-1m"): {"reg": 0.8, "reg_exponent": 0.5, "rate": 1.5}}
REAL = {"gowalla": ("implicit",), "ml-1m": ("explicit", "exact", "sgd")}


@dataclass(frozen=True)
class Data:
    """A matrix to fit, and what was held out of it."""

    name: str
    train: sp.csr_array
    test: sp.coo_array | None = None


def planted(task: Task, size: int) -> Data:
    """Make data of `size` training entries, in the shape of a known set."""
    if task.clicks:
        case = cases.clicks(size)
        train = sp.csr_array((case.csr[2], case.csr[1], case.csr[0]), shape=case.shape)
        return Data(cases.size_name(size), train)
    users, items = cases.shape_of(size)
    entries = round(size / (1 - TEST_SHARE))
    made = planted_ratings(
        users, items, entries, rank=cases.RANK, test_fraction=TEST_SHARE, seed=cases.SEED
    )
    return Data(cases.size_name(size), made.train, made.test.tocoo())


def real(name: str) -> Data:
    """Read data from the folder that MATFAC_DATA_DIR names; of ratings, a tenth is held out."""
    if name == "gowalla":
        return Data(name, load_split("lightgcn-gowalla").train)
    whole: Any = load_movielens(name).interactions.matrix.tocoo()
    test = np.random.default_rng(42).random(whole.nnz) < TEST_SHARE

    def part(chosen: Any) -> sp.coo_array:
        rows, columns = (index[chosen] for index in whole.coords)
        return sp.coo_array((whole.data[chosen], (rows, columns)), shape=whole.shape)

    return Data(name, part(~test).tocsr(), part(test))
