"""Items without history, by their features: whole items of MovieLens 1M held out.

    MATFAC_DATA_DIR=... python benchmarks/cold_items.py [--peer-python NAME=PATH ...] [--tune]

Every entry of a random 15 % of the films is held out (ml-1m.npz, ml-1m.titles.tsv). Each user is
given a list of these films by what is known of them: genres, decade and a constant. recall@k is the
user's films in the list over the lesser of k and how many there are, the mean over users with any.
--tune prints recall over grids of parameters on other films (seed 100) than those of the table
(seeds 0 to 2). A peer is run in the interpreter that --peer-python names.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import matfac
from matfac import ImplicitMF

CHILD = Path(__file__).with_name("cold_child.py")
SEEDS, TUNING_SEED, SHARE = (0, 1, 2), 100, 0.15
LENGTHS = (20, 50)
PEERS = ("lightfm", "cmfrec")
Floats = NDArray[np.float64]

OWN = {"n_factors": 64, "alpha0": 0.3, "reg": 0.007}
PEER_PARAMETERS: dict[str, dict[str, Any]] = {
    "lightfm": {
        "no_components": 64, "loss": "warp", "learning_rate": 0.05, "epochs": 20,
        "own_embeddings": False,
    },
    "cmfrec": {"k": 64, "lambda_": 10.0, "alpha": 1.0, "w_item": 10.0, "niter": 10},
}  # fmt: skip
GRIDS: dict[str, dict[str, list[Any]]] = {
    "matfac": {"alpha0": [0.1, 0.3], "reg": [0.003, 0.007, 0.02], "feature_reg": [1.0, 10.0, 50.0]},
    "lightfm": {
        "learning_rate": [0.02, 0.05], "epochs": [10, 30], "own_embeddings": [False, True],
    },
    "cmfrec": {"lambda_": [1.0, 10.0, 50.0], "w_item": [1.0, 10.0, 100.0], "alpha": [1.0, 5.0]},
}  # fmt: skip


def folder() -> Path:
    """Where the data sets lie."""
    return Path(os.environ.get("MATFAC_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


def read() -> tuple[sp.csr_array, sp.csr_array]:
    """Return who rated what, and what is known of each film."""
    with np.load(folder() / "ml-1m.npz", allow_pickle=False) as z:
        shape = int(z["n_users"]), int(z["n_items"])
        clicks = sp.csr_array((np.ones(len(z["user"]), np.float32), (z["user"], z["item"])), shape)
    with open(folder() / "ml-1m.titles.tsv", encoding="utf-8", newline="") as file:
        films = list(csv.DictReader(file, delimiter="\t"))
    columns: dict[str, int] = {"every film": 0}
    rows: list[tuple[int, int]] = []
    for film in films:
        year = re.search(r"\((\d{4})\)\s*$", film["title"])
        decade = [f"{int(year[1]) // 10}0s"] if year else []
        names = ["every film", *film["genres"].split("|"), *decade]
        rows += [(int(film["item"]), columns.setdefault(n, len(columns))) for n in names]
    at = np.array(rows).T
    features = sp.csr_array((np.ones(at.shape[1], np.float32), at), (shape[1], len(columns)))
    return clicks, features


@dataclass(frozen=True)
class Split:
    """Known films with their entries, new ones with theirs; columns are of the one or the other."""

    train: sp.csr_array
    test: sp.csr_array
    known: sp.csr_array  # features
    new: sp.csr_array

    @classmethod
    def of(cls, clicks: sp.csr_array, features: sp.csr_array, seed: int) -> Split:
        """Hold out a random share of the films."""
        order = np.random.default_rng(seed).permutation(clicks.shape[1])
        n_new = int(SHARE * len(order))
        new, known = np.sort(order[:n_new]), np.sort(order[n_new:])
        return cls(clicks[:, known], clicks[:, new], features[known], features[new])

    def recall(self, scores: Floats) -> list[float]:
        """Return recall at each of LENGTHS of scores (users x new films)."""
        relevant = self.test.toarray() > 0
        counts = relevant.sum(axis=1)
        some = counts > 0
        order = np.argsort(-scores, axis=1, kind="stable")
        hits = np.take_along_axis(relevant, order, axis=1).cumsum(axis=1)
        return [float((hits[some, k - 1] / np.minimum(counts[some], k)).mean()) for k in LENGTHS]


# ---------------------------------------------------------------- models: split -> scores


def everyone(scores: Floats, split: Split) -> Floats:
    """The same scores for each user."""
    return np.broadcast_to(scores, split.test.shape)


def by_chance(split: Split) -> Floats:
    """A random order for each user."""
    return np.random.default_rng(0).random(split.test.shape)


def ridge(features: sp.csr_array, targets: Floats, penalty: float) -> Floats:
    """Return the ridge regression of targets on features."""
    normal = (features.T @ features).toarray() + penalty * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(normal, features.T @ targets))


def by_popularity(split: Split) -> Floats:
    """How popular films of these features are: the count regressed on them."""
    counts = np.asarray(split.train.sum(axis=0), np.float64)
    return everyone(split.new @ ridge(split.known, counts, 1.0), split)


def mean_factor(split: Split) -> Floats:
    """Each new film is the mean of the known ones; ties, which all are, at random."""
    model = ImplicitMF(random_state=0, **OWN).fit(split.train)
    scores = model.user_factors_ @ model.item_factors_.mean(axis=0)
    return scores[:, None] + 1e-6 * by_chance(split)


def afterwards(split: Split) -> Floats:
    """Factors fitted without features, and regressed on them once that is done."""
    model = ImplicitMF(random_state=0, **OWN).fit(split.train)
    items = split.new @ ridge(split.known, model.item_factors_.astype(np.float64), 10.0)
    return model.user_factors_ @ items.T


def own(split: Split, **parameters: Any) -> Floats:
    """Return matfac's scores: item_features in the fit."""
    model = ImplicitMF(random_state=0, **{**OWN, **parameters})
    model.fit(split.train, item_features=split.known)
    return model.user_factors_ @ (split.new @ model.item_feature_factors_).T


def peer(name: str, python: str, split: Split, parameters: dict[str, Any]) -> tuple[Floats, str]:
    """Return the scores of a peer's vectors, and its name and version."""
    with tempfile.TemporaryDirectory() as work:
        problem, chosen, answer = (Path(work) / n for n in ("problem.npz", "p.json", "answer.npz"))
        entries = split.train.tocoo()
        np.savez(
            problem, users=entries.coords[0], items=entries.coords[1], shape=split.train.shape,
            known=split.known.toarray(), new=split.new.toarray(),
        )  # fmt: skip
        chosen.write_text(json.dumps(parameters))
        command = [python, str(CHILD), name, str(problem), str(chosen), str(answer)]
        subprocess.run(command, check=True)
        with np.load(answer, allow_pickle=False) as z:
            return z["users"] @ z["items"].T, f"{name} {z['version']}"


# ---------------------------------------------------------------- the table


MODELS: dict[str, Callable[[Split], Floats]] = {
    "random order": by_chance,
    "popularity of films with these features": by_popularity,
    "ImplicitMF, mean of the known films' factors": mean_factor,
    "ImplicitMF, factors regressed on the features afterwards": afterwards,
    "ImplicitMF with item_features": own,
}


def table(pythons: dict[str, str], seeds: tuple[int, ...] = SEEDS) -> Iterator[dict[str, Any]]:
    """Yield a row per model: mean recall over the seeds, its spread, and seconds per split."""
    clicks, features = read()
    splits = [Split.of(clicks, features, seed) for seed in seeds]
    for name, model in MODELS.items():
        start = time.perf_counter()
        yield row(name, [split.recall(model(split)) for split in splits], start)
    for name, python in pythons.items():
        start = time.perf_counter()
        answers = [peer(name, python, split, PEER_PARAMETERS[name]) for split in splits]
        recalls = [split.recall(a[0]) for split, a in zip(splits, answers, strict=True)]
        yield row(answers[0][1], recalls, start)


def row(name: str, recalls: list[list[float]], start: float) -> dict[str, Any]:
    """Return what a line of the table says."""
    found = np.array(recalls)
    return {
        "model": name,
        "recall": found.mean(axis=0).tolist(),
        "spread": np.ptp(found, axis=0).tolist(),
        "seconds": (time.perf_counter() - start) / len(recalls),
    }


def tune(pythons: dict[str, str]) -> None:
    """Print recall over the grids, on films that the table does not hold out."""
    split = Split.of(*read(), TUNING_SEED)
    for name in ("matfac", *pythons):
        grid = GRIDS[name]
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            if name == "matfac":
                scores = own(split, **chosen)
            else:
                parameters = {**PEER_PARAMETERS[name], **chosen}
                scores, _ = peer(name, pythons[name], split, parameters)
            recall = " ".join(f"{r:.4f}" for r in split.recall(scores))
            print(name, chosen, recall, flush=True)


def main() -> int:
    """Print the table, or what the parameters were chosen by."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", metavar="NAME=PATH", action="append", default=[])
    parser.add_argument("--tune", action="store_true", help="recall over the grids of parameters")
    args = parser.parse_args()
    pythons = dict(pair.partition("=")[::2] for pair in args.peer_python)
    if not set(pythons) <= set(PEERS):
        parser.error(f"--peer-python takes NAME=PATH, NAME one of {', '.join(PEERS)}")
    if args.tune:
        tune(pythons)
        return 0
    print(f"matfac {matfac.__version__}, {matfac.show_config()['simd']}")
    print("| model | " + " | ".join(f"recall@{k} | spread" for k in LENGTHS) + " | s per split |")
    print("|---" * (2 * len(LENGTHS) + 2) + "|")
    for line in table(pythons):
        pairs = zip(line["recall"], line["spread"], strict=True)
        cells = " | ".join(f"{mean:.3f} | {spread:.3f}" for mean, spread in pairs)
        print(f"| {line['model']} | {cells} | {line['seconds']:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
