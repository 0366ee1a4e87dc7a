"""Loaders of prepared data sets (.npz and .titles.tsv) that the licences forbid to ship."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from matfac._bounds import check_npz, check_unpacked, fixed_width
from matfac._validation import check_choice
from matfac.interactions import Interactions

MOVIELENS = ("ml-100k", "ml-1m")
SPLITS = ("ncf-ml-1m", "lightgcn-gowalla")
Data = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class MovieLens:
    """A MovieLens data set.

    Attributes
    ----------
    interactions : Interactions
        Ratings 1 to 5 by the data set's own user and movie ids; with timestamps if there are.
    titles : ndarray of shape (n_items,)
        The film of each column.
    folds : dict of str to (train, test)
        Published splits, "u1" to "u5", "ua" and "ub" of ml-100k: pairs of csr_array with the rows
        and columns of ``interactions.matrix``.
    """

    interactions: Interactions
    titles: NDArray[np.str_]
    folds: dict[str, tuple[sp.csr_array, sp.csr_array]]


@dataclass(frozen=True)
class Split:
    """Clicks as a published evaluation splits them.

    Attributes
    ----------
    train, test : csr_array of shape (n_users, n_items), ones, float32
        The clicks.
    negatives : ndarray of shape (n_users, 99), int32, or None
        The items among which each user's test item is to be ranked; for some users of ncf-ml-1m it
        stands among them itself.
    """

    train: sp.csr_array
    test: sp.csr_array
    negatives: NDArray[np.int32] | None


def load_movielens(
    name: str = "ml-100k", data_dir: str | os.PathLike[str] | None = None
) -> MovieLens:
    """Read NAME.npz and NAME.titles.tsv, which you have to bring (the licence forbids sharing).

    Parameters
    ----------
    name : {"ml-100k", "ml-1m"}, default="ml-100k"
        The data set.
    data_dir : path-like, default=None
        Folder of the files; None: the one that the environment variable MATFAC_DATA_DIR names.
        The .npz holds user, item (int32, from 0), rating, n_users and n_items, and may hold
        timestamp and published splits as train_NAME_user and so on; the .tsv has a header with
        item, movie_id and title.

    Returns
    -------
    MovieLens

    Raises
    ------
    FileNotFoundError
        If a file is absent; the message says what it should hold.
    ValueError
        If a file holds something else, or there is no folder.
    """
    check_choice("name", name, MOVIELENS)
    folder = _folder(data_dir)
    path, data = _load(folder, name, ("user", "item", "rating", "n_users", "n_items"))
    shape = _shape(path, data)
    movie_ids, titles = _read_titles(folder / f"{name}.titles.tsv", shape[1])
    # MovieLens numbers its users from 1 without a gap.
    made = Interactions.from_arrays(
        _indices(path, data, "user", shape[0]) + np.int64(1),
        movie_ids[_indices(path, data, "item", shape[1])],
        data["rating"],
        timestamps=data.get("timestamp"),
    )
    order = np.argsort(movie_ids)
    if made.shape != shape or not np.array_equal(made.item_ids, movie_ids[order]):
        raise ValueError(f"{path} is not {name}: some users or films have no ratings")
    column = np.empty(len(order), np.int64)
    column[order] = np.arange(len(order))
    folds = {
        fold: (
            _matrix(path, data, f"train_{fold}_", shape, column),
            _matrix(path, data, f"test_{fold}_", shape, column),
        )
        for fold in sorted(key.split("_")[1] for key in data if key.startswith("test_")
                           and key.endswith("_user"))
    }  # fmt: skip
    return MovieLens(made, titles[order], folds)


def load_split(name: str, data_dir: str | os.PathLike[str] | None = None) -> Split:
    """Read NAME.npz of a published evaluation, which you have to bring.

    Parameters
    ----------
    name : {"ncf-ml-1m", "lightgcn-gowalla"}
        Leave-one-out with 99 negatives per user (He et al. 2017), or held-out check-ins (He et al.
        2020).
    data_dir : path-like, default=None
        As for `load_movielens`. The .npz holds train_user, train_item, test_user, test_item,
        n_users and n_items, and may hold test_negatives.

    Returns
    -------
    Split

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_movielens`.
    """
    check_choice("name", name, SPLITS)
    keys = ("train_user", "train_item", "test_user", "test_item", "n_users", "n_items")
    path, data = _load(_folder(data_dir), name, keys)
    shape = _shape(path, data)
    negatives = None
    if "test_negatives" in data:
        order = np.argsort(data["test_user"], kind="stable")
        negatives = data["test_negatives"][order].astype(np.int32, copy=False)
    return Split(
        _matrix(path, data, "train_", shape), _matrix(path, data, "test_", shape), negatives
    )


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    folder = os.environ.get("MATFAC_DATA_DIR") if data_dir is None else data_dir
    if not folder:
        raise ValueError(
            "data_dir must name the folder of the data, or the environment variable "
            "MATFAC_DATA_DIR must"
        )
    return Path(folder)


def _load(folder: Path, name: str, keys: tuple[str, ...]) -> tuple[Path, Data]:
    path = folder / f"{name}.npz"
    expected = f"an .npz file with the arrays {', '.join(keys)}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: put {expected} there, or give data_dir")
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file}
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}; it should be {expected}") from error
    missing = [key for key in keys if key not in data]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it should be {expected}")
    return path, data


def _shape(path: Path, data: Data) -> tuple[int, int]:
    given = data["n_users"], data["n_items"]
    if any(n.shape != () or n.dtype.kind not in "iu" or n < 0 for n in given):
        raise ValueError(f"{path}: n_users and n_items must be whole numbers")
    check_unpacked(path, 8 * int(max(given)))  # a matrix has as many row ends
    return int(given[0]), int(given[1])


def _indices(path: Path, data: Data, key: str, n: int) -> NDArray[np.int64]:
    if key not in data:
        raise ValueError(f"{path} lacks the array {key}")
    values = data[key].astype(np.int64)
    if values.ndim != 1 or (len(values) and not 0 <= values.min() <= values.max() < n):
        raise ValueError(f"{path}: {key} must hold indices from 0 to {n - 1}")
    return values


def _matrix(
    path: Path,
    data: Data,
    prefix: str,
    shape: tuple[int, int],
    column: NDArray[np.int64] | None = None,
) -> sp.csr_array:
    users = _indices(path, data, f"{prefix}user", shape[0])
    items = _indices(path, data, f"{prefix}item", shape[1])
    items = items if column is None else column[items]
    # Published splits of clicks may carry the ratings that they were made from.
    ratings = data.get(f"{prefix}rating") if column is not None else None
    values = np.ones(len(users)) if ratings is None else ratings
    if not len(users) == len(items) == len(values):
        raise ValueError(f"{path}: the arrays {prefix}* differ in length")
    return sp.csr_array((values.astype(np.float32), (users, items)), shape=shape)


def _read_titles(path: Path, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    wanted = "a table with tabs and a header with item, movie_id and title"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: put {wanted} there") from None
    try:
        header = lines[0].split("\t")
        at = [header.index(name) for name in ("item", "movie_id", "title")]
        rows = [[line.split("\t")[k] for k in at] for line in lines[1:] if line]
        numbers = np.array([[int(item), int(movie)] for item, movie, _ in rows]).reshape(-1, 2)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} should be {wanted}: {error}") from error
    if not np.array_equal(numbers[:, 0], np.arange(n_items)):
        raise ValueError(f"{path} should list the items 0 to {n_items - 1} in order")
    return numbers[:, 1].astype(np.int64), fixed_width([title for _, _, title in rows], str(path))
