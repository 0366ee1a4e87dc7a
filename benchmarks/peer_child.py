"""One fit of one package, in a process of its own: `python peer_child.py SETTINGS`, in JSON.

Runs in the peer's interpreter and needs NumPy, SciPy and the peer. SETTINGS["probe"] asks for the
version alone. Otherwise the matrix is read from SETTINGS["train"], brought into the form that the
package takes, fitted, and the factors go to SETTINGS["out"]; only the fit is in the time. Prints
one line of JSON; whatever the package prints goes to standard error.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from typing import Any

import numpy as np

import peer_als
from peer_fit import Fit
from peer_ialspp import fit_ialspp
from peer_libmf import fit_libmf
from peer_surprise import fit_surprise


def fit_matfac(fit: Fit) -> dict[str, Any]:
    from matfac import ExplicitMF, ImplicitMF

    matrix = fit.matrix()
    marks: list[float] = []

    def callback(number: int, record: dict[str, float]) -> None:
        marks.append(record["seconds"])
        fit.objectives.append(record["objective"])

    shared: dict[str, Any] = {"n_factors": fit.d, "reg": fit.reg, "n_iter": fit.n_iter}
    shared |= {"n_threads": fit.threads, "random_state": fit.seed, "callback": callback}
    shared["verbose"] = False
    model: Any
    if fit.task == "implicit":
        model = ImplicitMF(alpha=fit.alpha, **shared)
    elif fit.task == "explicit":
        model = ExplicitMF(**shared)
    elif fit.task == "exact":
        model = ExplicitMF(cg_steps=None, **shared)
    else:
        shared |= {"learning_rate": fit.rate, "reg_exponent": fit.reg_exponent}
        model = ExplicitMF(solver="sgd", **shared)
    with fit:
        model.fit(matrix)
    fit.iterations = np.diff(marks, prepend=0.0).tolist()
    made = {"users": model.user_factors_, "items": model.item_factors_}
    if model.user_bias_ is not None:
        made |= {"user_bias": model.user_bias_, "item_bias": model.item_bias_, "mean": model.mean_}
    return made


FITS = {
    "matfac": fit_matfac,
    "ialspp": fit_ialspp,
    "libmf": fit_libmf,
    "surprise": fit_surprise,
    **{
        name.removeprefix("fit_"): made
        for name, made in vars(peer_als).items()
        if name.startswith("fit_")
    },
}


def main() -> None:
    settings = json.loads(sys.argv[1])
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if "probe" in settings:
        print(json.dumps({"version": importlib.metadata.version(settings["probe"])}), file=line)
        return
    fit = Fit(settings)
    np.savez(settings["out"], **FITS[settings["peer"]](fit))
    told = ("seconds", "iterations", "objectives", "peak_mb")
    print(json.dumps({name: getattr(fit, name) for name in told}), file=line)


if __name__ == "__main__":
    main()
