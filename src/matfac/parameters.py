"""Parameters of other packages in terms of matfac's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matfac._validation import check_choice

Parameters = dict[str, Any]

# Their names for what means the same.
COMMON = {
    "implicit": {"factors": "n_factors", "iterations": "n_iter", "num_threads": "n_threads"},
    "irspack": {
        "n_components": "n_factors",
        "train_epochs": "n_iter",
        "n_threads": "n_threads",
        "init_std": "init_std",
    },
    "spark": {"rank": "n_factors", "maxIter": "n_iter", "nonnegative": "nonnegative"},
    "cmfrec": {"k": "n_factors", "niter": "n_iter", "nthreads": "n_threads"},
    "libmf": {"k": "n_factors", "t": "n_iter", "s": "n_threads"},
}
COMMON["cmfrec-implicit"] = COMMON["cmfrec"]
COMMON["spark-implicit"] = COMMON["spark"]


def parameters_from(package: str, **theirs: Any) -> Parameters:
    """Return the arguments of `ImplicitMF` or `ExplicitMF` that state another package's problem.

    With them both minimise the same objective, or multiples of it; see docs/parameters.md.
    What is not given is taken at the other package's default where it changes the objective.

    Parameters
    ----------
    package : str
        For `ImplicitMF`: "implicit" (its ``AlternatingLeastSquares``, on entries of one),
        "irspack" (``IALSRecommender``), "spark-implicit" (``ALS(implicitPrefs=True)``) and
        "cmfrec-implicit" (``CMF_implicit``). For `ExplicitMF`: "spark" (``ALS``), "cmfrec"
        (``CMF``) and "libmf" (squared loss).
    **theirs
        Parameters by their names there: of "implicit" factors, regularization, alpha, iterations;
        of "irspack" n_components, alpha0, reg, nu, loss_type, train_epochs, init_std; of "spark"
        rank, regParam, alpha, nonnegative, maxIter; of "cmfrec" k, lambda_, alpha, scale_lam,
        l1_lambda, nonneg, user_bias, niter; of "libmf" k, l2, nmf, t (its options -k, -l2 or
        l2 of its R package, --nmf, -t, -s).

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        An unknown package or parameter, or a problem that matfac does not state.

    Examples
    --------
    >>> from matfac import parameters_from
    >>> parameters_from("implicit", factors=64, regularization=0.01, alpha=40.0)
    {'n_factors': 64, 'alpha': 39.0, 'reg': 0.01, 'reg_exponent': 0.0}
    >>> parameters_from("spark", rank=10, regParam=0.1)
    {'n_factors': 10, 'reg': 0.1, 'reg_exponent': 1.0, 'fit_bias': False}
    """
    convert = CONVERSIONS[check_choice("package", package, tuple(CONVERSIONS))]
    given = dict(theirs)
    ours = {new: given.pop(old) for old, new in COMMON[package].items() if old in given}
    ours |= convert(given)
    if given:
        raise ValueError(
            f"parameters_from does not know {', '.join(map(repr, sorted(given)))} of {package}: "
            "leave it out, if the objective does not depend on it"
        )
    return ours


def _implicit(given: Parameters) -> Parameters:
    # Its confidence is alpha r, not 1 + alpha r; the two agree for r = 1.
    alpha = given.pop("alpha", 1.0)
    if alpha < 1:
        raise ValueError(
            f"alpha={alpha} weighs what was seen less than what was not: give 1 or more"
        )
    return {"alpha": alpha - 1.0, "reg": given.pop("regularization", 0.01), "reg_exponent": 0.0}


def _irspack(given: Parameters) -> Parameters:
    nu, nu_star = given.pop("nu", 1.0), given.pop("nu_star", None)
    if nu_star not in (None, nu):
        raise ValueError(
            f"nu_star={nu_star} makes reg depend on the data: give the reg that results, and "
            "no nu_star"
        )
    if given.pop("loss_type", "IALSPP") != "IALSPP":
        raise ValueError("loss_type must be 'IALSPP': 'ORIGINAL' is spark-implicit's, times alpha0")
    alpha0, reg = given.pop("alpha0", 0.0), given.pop("reg", 1e-3)
    return {"alpha0": alpha0, "reg": reg, "reg_exponent": nu}


def _spark(given: Parameters) -> Parameters:
    return {"reg": given.pop("regParam", 0.1), "reg_exponent": 1.0, "fit_bias": False}


def _spark_implicit(given: Parameters) -> Parameters:
    return {
        "alpha": given.pop("alpha", 1.0),
        "reg": given.pop("regParam", 0.1),
        "reg_exponent": 1.0,
    }


def _cmfrec(given: Parameters) -> Parameters:
    ours = {
        "reg": given.pop("lambda_", 10.0),
        "reg_exponent": 1.0 if given.pop("scale_lam", False) else 0.0,
        "fit_bias": given.pop("user_bias", True),
    }
    return ours | _cmfrec_penalties(given)


def _cmfrec_implicit(given: Parameters) -> Parameters:
    ours = {
        "alpha": given.pop("alpha", 1.0),
        "reg": given.pop("lambda_", 1.0),
        "reg_exponent": 0.0,
    }
    return ours | _cmfrec_penalties(given)


def _cmfrec_penalties(given: Parameters) -> Parameters:
    ours: Parameters = {}
    if "l1_lambda" in given:
        ours["l1_reg"] = given.pop("l1_lambda")
    if "nonneg" in given:
        ours["nonnegative"] = given.pop("nonneg")
    return ours


def _libmf(given: Parameters) -> Parameters:
    ours = {"solver": "sgd", "reg": given.pop("l2", 0.1), "reg_exponent": 1.0, "fit_bias": False}
    if "nmf" in given:
        ours["nonnegative"] = given.pop("nmf")
    return ours


CONVERSIONS: dict[str, Callable[[Parameters], Parameters]] = {
    "implicit": _implicit,
    "irspack": _irspack,
    "spark-implicit": _spark_implicit,
    "cmfrec-implicit": _cmfrec_implicit,
    "spark": _spark,
    "cmfrec": _cmfrec,
    "libmf": _libmf,
}
