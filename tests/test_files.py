"""Model files: those of format version 1 load for ever, alone, and by mapping."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.make import MODELS, answers, data
from matfac import ImplicitMF, datasets, load, model_io
from matfac._model import FactorModel

FIXTURES = Path(__file__).parent / "fixtures"


def assert_answers(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        array = np.array(value)
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_files_of_version_1_give_the_stored_answers(name: str) -> None:
    path = FIXTURES / f"v1-{name}.safetensors"
    model = load(path)
    assert type(model) is type(MODELS[name])
    for parameter, value in MODELS[name].get_params().items():
        assert getattr(model, parameter) == value, parameter
    matrix, _ = data(name)
    wanted = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert_answers(answers(model, matrix), wanted)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_again_is_the_same(name: str, tmp_path: Path) -> None:
    path = FIXTURES / f"v1-{name}.safetensors"
    load(path).save(tmp_path / "again")
    before, description = model_io.read(path, mmap=False)
    after, again = model_io.read(tmp_path / "again", mmap=False)
    assert after.keys() == before.keys()
    for key, array in before.items():
        assert after[key].dtype == array.dtype
        np.testing.assert_array_equal(after[key], array)
    for key, value in description.items():
        if key == "params":  # a later version may know more
            assert value.items() <= again[key].items()
        else:
            assert again[key] == value


def test_every_estimator_has_a_file() -> None:
    kinds = {type(load(path)) for path in FIXTURES.glob("v1-*.safetensors")}
    missing = [cls.__name__ for cls in FactorModel.__subclasses__() if cls not in kinds]
    assert not missing, "add it to tests/fixtures/make.py and run that"


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    """Whether the array lies in a mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return "mmap" in type(base.obj if isinstance(base, memoryview) else base).__name__


PROGRAM = """
import sys
import numpy as np
from matfac import load

model = load(sys.argv[1])
lists, scores = model.recommend(k=5)
np.savez(sys.argv[2], lists=lists, scores=scores, similar=model.similar_items([3], k=5)[0],
         folded=model.transform(np.eye(model.n_features_in_)[:3]))
"""


def test_a_model_loads_in_another_process_without_its_data(tmp_path: Path) -> None:
    clicks = datasets.planted_clicks(400, 300, 6000, seed=1).train
    model = ImplicitMF(n_factors=16, n_iter=3, random_state=0).fit(clicks)
    model.save(tmp_path / "model")
    subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "model", tmp_path / "found.npz"],
        check=True, cwd=tmp_path, timeout=100,
    )  # fmt: skip
    lists, scores = model.recommend(k=5)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["lists"], lists)
        np.testing.assert_array_equal(found["scores"], scores)
        np.testing.assert_array_equal(found["similar"], model.similar_items([3], k=5)[0])
        np.testing.assert_array_equal(found["folded"], model.transform(np.eye(300)[:3]))


def test_loading_maps_and_the_core_works_on_the_mapping(tmp_path: Path) -> None:
    clicks = datasets.planted_clicks(400, 300, 6000, seed=1).train
    model = ImplicitMF(n_factors=16, n_iter=3, random_state=0).fit(clicks)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    for array in (loaded.user_factors_, loaded.item_factors_, *loaded._seen):
        assert is_mapped(array)
        assert not array.flags.writeable
    assert not is_mapped(np.array(loaded.item_factors_))
    np.testing.assert_array_equal(loaded.recommend(k=5)[0], model.recommend(k=5)[0])
    (tmp_path / "model").unlink()  # the mapping keeps what it maps
    np.testing.assert_array_equal(loaded.recommend(k=5)[0], model.recommend(k=5)[0])


def test_saved_without_the_seen_entries_it_says_so(tmp_path: Path) -> None:
    clicks = datasets.planted_clicks(400, 300, 6000, seed=1).train
    model = ImplicitMF(n_factors=16, n_iter=3, random_state=0).fit(clicks)
    model.save(tmp_path / "full")
    model.save(tmp_path / "lean", with_seen=False)
    spared = (tmp_path / "full").stat().st_size - (tmp_path / "lean").stat().st_size
    assert spared >= 4 * clicks.nnz + 8 * 401
    lean = load(tmp_path / "lean")
    with pytest.raises(ValueError, match="this model was saved without"):
        lean.recommend([0])
    lists, _ = lean.recommend([0], exclude_seen=False)
    np.testing.assert_array_equal(lists, model.recommend([0], exclude_seen=False)[0])
    folded, _ = lean.recommend(X=clicks[[0]])
    np.testing.assert_array_equal(folded, model.recommend(X=clicks[[0]])[0])
