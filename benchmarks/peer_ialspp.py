"""A fit by ialspp_main, the program of the iALS++ paper's authors (Rendle et al., 2021).

It takes files and flags, knows no values but 1, and keeps its factors to itself: it tells the
objective after each half epoch, as single precision sums it. All cells weigh w0 in it and the known
ones 1 more; Hu and Koren's objective with alpha = 1 / w0 is a multiple of it at the factors divided
by the root of alpha / (1 + alpha).
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from peer_fit import Fit

HEAD = "user,item\n"
TOLD = re.compile(r"Loss=(?P<loss>\S+),.* Time=(?P<aside>\d+)|Timer: Train=(?P<epoch>\d+)")


def fit_ialspp(fit: Fit) -> dict[str, Any]:
    triplets = fit.matrix().tocoo()
    if not (triplets.data == 1).all():
        raise SystemExit("ialspp_main knows no values but 1")
    if hasattr(os, "sched_setaffinity"):  # it takes as many threads as it may use cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: fit.threads])
    weight, aim = 1 / fit.alpha, fit.alpha / (1 + fit.alpha)
    with tempfile.TemporaryDirectory() as folder:
        train, one = Path(folder, "train.csv"), Path(folder, "one.csv")
        pairs = np.column_stack([triplets.row, triplets.col])
        np.savetxt(train, pairs, "%d", ",", header=HEAD.strip(), comments="")
        one.write_text(f"{HEAD}{pairs[0][0]},{pairs[0][1]}\n", encoding="ascii")  # it evaluates
        flags = {
            "train_data": train, "test_train_data": one, "test_test_data": one,
            "epochs": fit.n_iter, "embedding_dim": fit.d, "unobserved_weight": weight,
            "regularization": fit.reg * weight * aim, "regularization_exp": 0,
            "eval_during_training": 0, "print_train_stats": 1,
        }  # fmt: skip
        words = (word for name, value in flags.items() for word in (f"--{name}", str(value)))
        done = subprocess.run([fit.built, *words], capture_output=True, text=True, check=True)
    aside = loss = 0.0
    for line in TOLD.finditer(done.stdout):
        if line["epoch"] is None:
            loss, aside = float(line["loss"]), aside + float(line["aside"]) / 1e3
            continue
        fit.iterations.append(float(line["epoch"]) / 1e3 - aside)
        known = triplets.nnz
        fit.objectives.append((loss - known) / (weight * aim**2) + (1 + fit.alpha) * known)
        aside = 0.0
    fit.seconds = sum(fit.iterations)
    fit.peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"objective": fit.objectives[-1]}
