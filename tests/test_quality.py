"""The quality bars on public data, as benchmarks/quality.py states them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from conftest import DATA_DIR

# Case and data set. The other cases of benchmarks/quality.py take longer.
CASES = {
    "ml-100k": "ml-100k",
    "ml-100k-folds": "ml-100k",
    "ml-1m": "ml-1m",
    "ncf": "ncf-ml-1m",
    "ncf-192": "ncf-ml-1m",
    "gowalla-64": "lightgcn-gowalla",
    "gowalla-256-weighted": "lightgcn-gowalla",
}


def quality() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "quality.py"
    spec = importlib.util.spec_from_file_location("quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), CASES.items())
def test_bars(name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DATA_DIR / f"{file}.npz").exists():
        pytest.skip(f"{DATA_DIR / file}.npz is absent: set MATFAC_DATA_DIR to its folder")
    monkeypatch.setenv("MATFAC_DATA_DIR", str(DATA_DIR))
    rows = quality().CASES[name]()
    assert all(row["passed"] for row in rows), rows
    if name.startswith("ml-"):
        als, sgd = (row["value"] for row in rows)
        assert abs(als - sgd) <= 0.005
