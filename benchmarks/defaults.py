"""Whether the defaults are good across data: `python benchmarks/defaults.py [MODEL ...]`.

Every setting of a small grid that holds the defaults is fitted to every data set, less a part that
is held out: a tenth of the ratings, or a tenth of each user's positives. A setting's regret is how
much worse it is there than the best one, in the share of the best's RMSE or NDCG@10. Prints, per
model, the settings of the least mean regret and where the defaults stand among them; fails where
another setting is better than they by MARGIN or more on every data set. MATFAC_DATA_DIR names the
data's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

import cases
import machine
import matfac
from matfac import ExplicitMF, ImplicitMF, RankingMF
from matfac.datasets import load_movielens, load_split

MARGIN = 0.01
SHOWN = 4
LIKED = 4  # stars

Grid = dict[str, list[Any]]


def liked(ratings: sp.csr_array) -> sp.csr_array:
    kept = ratings.copy()
    kept.data = (kept.data >= LIKED).astype(np.float32)
    kept.eliminate_zeros()
    return kept


def movielens(name: str) -> sp.csr_array:
    return sp.csr_array(load_movielens(name).interactions.matrix)


def planted(kind: str, nnz: int) -> sp.csr_array:
    case = cases.MAKERS[kind](nnz)
    return sp.csr_array((case.csr[2], case.csr[1], case.csr[0]), shape=case.shape)


RATINGS: dict[str, Callable[[], sp.csr_array]] = {
    "ML-100K": lambda: movielens("ml-100k"),
    "ML-1M": lambda: movielens("ml-1m"),
    "planted 100k": lambda: planted("ratings", 100_000),
    "planted 1M": lambda: planted("ratings", 1_000_000),
}
POSITIVES: dict[str, Callable[[], sp.csr_array]] = {
    "ML-100K liked": lambda: liked(movielens("ml-100k")),
    "ML-1M liked": lambda: liked(movielens("ml-1m")),
    "ML-1M all": lambda: load_split("ncf-ml-1m").train,
    "Gowalla": lambda: load_split("lightgcn-gowalla").train,
    "planted 100k": lambda: planted("clicks", 100_000),
}
make = cache(lambda name, ratings: (RATINGS if ratings else POSITIVES)[name]())


@dataclass(frozen=True)
class Study:
    """A model with its defaults, and the grid around them."""

    model: Any
    grid: list[Grid]

    @property
    def ratings(self) -> bool:
        return isinstance(self.model, ExplicitMF)


STUDIES = {
    "als": Study(
        ExplicitMF(),
        [
            {"reg_exponent": [1.0], "reg": [0.03, 0.05, 0.08, 0.12]},
            {"reg_exponent": [0.5], "reg": [0.5, 0.9, 1.3, 2.0]},
        ],
    ),
    "sgd": Study(
        ExplicitMF(solver="sgd"),
        [{"learning_rate": [0.75, 1.5, 3.0], "reg": [0.03, 0.05, 0.08, 0.12]}],
    ),
    "implicit": Study(
        ImplicitMF(),
        [{"alpha0": [None, 0.01, 0.03, 0.1, 0.3, 1.0], "reg": [0.002, 0.005, 0.01, 0.02]}],
    ),
    "bpr": Study(
        RankingMF(),
        [{"learning_rate": [0.25, 0.5, 1.0], "reg": [0.003, None, 0.03]}],
    ),
    "warp": Study(
        RankingMF(loss="warp"),
        [{"learning_rate": [0.25, 0.5, 1.0], "reg": [0.01, None, 0.1]}],
    ),
}


def regrets(study: Study) -> tuple[list[dict[str, Any]], np.ndarray, list[str]]:
    """Return the settings, the regret of each on each data set, and the data sets' names."""
    settings: list[dict[str, Any]] = []
    names = list(RATINGS if study.ratings else POSITIVES)
    columns = []
    for name in names:
        trials = matfac.tune(
            clone(study.model).set_params(random_state=0),
            make(name, study.ratings),
            study.grid,
            halving=False,
            refit=False,
            verbose=False,
        ).trials
        settings = [{key: trial[key] for key in study.grid[0]} for trial in trials]
        scores = np.array([trial["score"] for trial in trials])
        best = np.nanmin(scores) if study.ratings else np.nanmax(scores)
        columns.append(np.nan_to_num(np.abs(scores - best) / best, nan=np.inf))
    return settings, np.array(columns).T, names


def report(name: str, study: Study) -> bool:
    """Print a study's table; return whether no other setting is better everywhere."""
    settings, table, names = regrets(study)
    mean = table.mean(axis=1)
    own = {key: study.model.get_params()[key] for key in settings[0]}
    default = next(i for i, setting in enumerate(settings) if setting == own)
    order = np.argsort(mean, kind="stable")
    print(f"\n{name}: `{study.model!r}`, {len(settings)} settings\n")
    print(f"| setting | {' | '.join(names)} | mean |")
    print("|---" * (len(names) + 2) + "|")
    for rank, i in enumerate(order, 1):
        if rank > SHOWN and i != default:
            continue
        label = ", ".join(f"{key}={value}" for key, value in settings[i].items())
        cells = " | ".join(f"{value:.1%}" for value in table[i])
        mark = f" (the default, rank {rank})" if i == default else ""
        print(f"| {label}{mark} | {cells} | {mean[i]:.1%} |", flush=True)
    return not (table + MARGIN <= table[default]).all(axis=1).any()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(STUDIES)}; all by default")
    args = parser.parse_args()
    print({key: value for key, value in machine.describe().items() if key != "matfac"})
    lost = [name for name in args.names or STUDIES if not report(name, STUDIES[name])]
    assert not lost, f"another setting is better on all data: {lost}"


if __name__ == "__main__":
    main()
