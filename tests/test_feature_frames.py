"""Features in frames of pandas: by id where the index holds ids, else in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matfac import ImplicitMF, Interactions

pd = pytest.importorskip("pandas", reason="pandas is not installed")

RNG = np.random.default_rng(3)
SEEN = RNG.random((30, 20)) < 0.3
FEATURES = RNG.normal(size=(20, 3))
SHUFFLED = RNG.permutation(20)


def clicks(kind: type) -> Interactions:
    users, items = np.nonzero(SEEN)
    return Interactions.from_arrays(users, (items + 100).astype(kind))


def frame(data: Interactions, order: Any = slice(None)) -> Any:
    return pd.DataFrame(FEATURES, index=data.item_ids).iloc[order]


def fit(data: Interactions, features: Any) -> Any:
    return ImplicitMF(n_factors=3, n_iter=3, random_state=0).fit(data, item_features=features)


@pytest.mark.parametrize("kind", [int, str])
def test_rows_are_taken_by_id(kind: type) -> None:
    data = clicks(kind)
    wanted = fit(data, FEATURES).item_factors_
    more = pd.concat((pd.DataFrame([[9.0, 9, 9]], index=[7]), frame(data, SHUFFLED)))
    alike = [frame(data), frame(data, SHUFFLED), more, pd.DataFrame(FEATURES)]
    for features in alike:
        np.testing.assert_array_equal(fit(data, features).item_factors_, wanted)
    bare = ImplicitMF(n_factors=3, n_iter=3, random_state=0)
    bare.fit(data.matrix, item_features=frame(data, SHUFFLED))  # no ids: in order
    shuffled = fit(data, FEATURES[SHUFFLED]).item_factors_
    np.testing.assert_array_equal(bare.item_factors_, shuffled)


def test_so_they_are_in_transform_fold_in_and_partial_fit() -> None:
    data = clicks(str)
    tastes = np.random.default_rng(1).normal(size=(30, 2))
    by_id = pd.DataFrame(tastes, index=data.user_ids).iloc[::-1]
    model = ImplicitMF(n_factors=3, n_iter=3, random_state=0)
    model.fit(data, user_features=by_id, item_features=frame(data))
    np.testing.assert_array_equal(
        model.transform(data, user_features=by_id), model.transform(data, user_features=tastes)
    )
    np.testing.assert_array_equal(
        model.fold_in_items(data, item_features=frame(data, SHUFFLED)),
        model.fold_in_items(data, item_features=FEATURES),
    )
    state = vars(model).copy()
    grown = []
    for X, users in ((data, by_id), (data, tastes), (data.matrix, by_id)):
        model.__dict__ = state.copy()
        grown.append(model.partial_fit(X, user_features=users).user_factors_)
    np.testing.assert_array_equal(grown[0], grown[1])
    np.testing.assert_array_equal(grown[0], grown[2])


MEND = r"item_features\.reset_index\(drop=True\)"


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        (range(1, 21), ValueError, "lacks 100, and is wrong for 20 of 20 ids: index .*" + MEND),
        ([100, *range(100, 119)], ValueError, "repeats 100, and is wrong for 2 of 20 ids"),
        ([f"film {i}" for i in range(20)], TypeError, "holds strings such as 'film 0'.*" + MEND),
        ([None, *range(100, 119)], ValueError, "is missing .*" + MEND),
    ],
)
def test_an_index_of_other_labels_is_refused(index: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=rf"item_features\.index.*{words}"):
        fit(clicks(int), pd.DataFrame(FEATURES, index=index))
