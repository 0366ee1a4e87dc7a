"""One fit of a peer with item features, in the interpreter that has it: user and new item vectors.

    python cold_child.py NAME PROBLEM.npz PARAMETERS.json ANSWER.npz

Needs numpy, scipy and the peer, not matfac. Users' scores of new items are inner products.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from typing import Any

import numpy as np
import scipy.sparse as sp

Answer = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]


def lightfm(clicks: sp.csr_matrix, known: Any, new: Any, parameters: dict[str, Any]) -> Answer:
    """LightFM: an item is the sum of its features' embeddings and, where asked for, its own."""
    from lightfm import LightFM  # type: ignore[import-not-found]

    parameters = dict(parameters)
    epochs, own = parameters.pop("epochs"), parameters.pop("own_embeddings")
    n = known.shape[0]
    if own:
        known = sp.hstack((known, sp.identity(n)))
        new = sp.hstack((new, sp.csr_matrix((new.shape[0], n))))
    model = LightFM(random_state=0, **parameters)
    model.fit(clicks.tocoo(), item_features=sp.csr_matrix(known), epochs=epochs, num_threads=2)
    _, users = model.get_user_representations()  # a user's own bias moves no list
    bias, items = model.get_item_representations(sp.csr_matrix(new, dtype=np.float32))
    return np.column_stack((users, np.ones(len(users)))), np.column_stack((items, bias))


def cmfrec(clicks: sp.csr_matrix, known: Any, new: Any, parameters: dict[str, Any]) -> Answer:
    """cmfrec: collective factorization of the clicks and of the features."""
    from cmfrec import CMF_implicit  # type: ignore[import-not-found]

    model = CMF_implicit(nthreads=2, random_state=0, **parameters)
    model.fit(clicks.tocoo(), I=known.toarray())
    items = np.array([model.item_factors_cold(I=row) for row in new.toarray()])
    return model.A_, items


def main() -> None:
    """Fit and write the vectors, the seconds of the whole and the version."""
    name, problem, chosen, answer = sys.argv[1:]
    with np.load(problem) as z:
        clicks = sp.csr_matrix(
            (np.ones(len(z["users"]), np.float32), (z["users"], z["items"])),
            shape=tuple(z["shape"]),
        )
        known, new = sp.csr_matrix(z["known"]), sp.csr_matrix(z["new"])
    with open(chosen, encoding="utf-8") as file:
        parameters = json.load(file)
    start = time.perf_counter()
    users, items = {"lightfm": lightfm, "cmfrec": cmfrec}[name](clicks, known, new, parameters)
    seconds = time.perf_counter() - start
    version = importlib.metadata.version(name)
    np.savez(answer, users=users, items=items, seconds=seconds, version=version)


if __name__ == "__main__":
    main()
