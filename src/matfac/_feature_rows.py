"""What a fitted model's features say of new users and items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from matfac import _engine
from matfac._engine import Floats
from matfac._feature_input import check_features
from matfac._features import FeatureWeights, Prior, prior_of
from matfac._validation import check_threads

if TYPE_CHECKING:
    from matfac._model import FactorModel


def prior_for(
    model: FactorModel,
    side: str,
    features: Any,
    n_rows: int | None,
    chosen: NDArray[np.integer[Any]] | None = None,
    ids: NDArray[Any] | None = None,
) -> Prior | None:
    """Return the prior of rows of the side, "user" or "item", or None without features.

    Of the `n_rows` (None: any number), which have the `ids`, the chosen ones alone; None: of all.
    """
    if features is None:
        return None
    checked, weights = features_for(model, side, features, n_rows, ids)
    if chosen is not None:
        checked = checked[chosen]
    return prior_of(checked, weights, check_threads(model.n_threads))


def features_for(
    model: FactorModel,
    side: str,
    features: Any,
    n_rows: int | None,
    ids: NDArray[Any] | None = None,
) -> tuple[sp.csr_array, FeatureWeights]:
    """Return checked features of rows of the side, and what the model makes of each feature."""
    argument = f"{side}_features"
    factors = getattr(model, f"{side}_feature_factors_")
    if factors is None:
        raise ValueError(f"{argument}: the model was fitted without; give {argument} to fit too")
    checked = check_features(
        argument, features, factors.dtype, n_rows=n_rows, of=f"X has {side}s:", ids=ids
    )
    assert checked is not None
    if checked.shape[1] != len(factors):
        raise ValueError(
            f"{argument} has {checked.shape[1]} columns, but the model was fitted on "
            f"{len(factors)} features"
        )
    return checked, FeatureWeights(factors, getattr(model, f"{side}_feature_bias_"))


def rows_of(model: FactorModel, side: str, features: Any) -> tuple[Floats, Floats | None]:
    """Return the factors and biases of rows of which the features are all that is known."""
    prior = prior_for(model, side, features, None)
    if prior is None:
        raise ValueError(f"X is None: give the entries, or {side}_features")
    return _engine.factors_of(prior.table, model.item_factors_.shape[1]), prior.bias
