"""The quality bars on public data, as benchmarks/quality.py states them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from conftest import DATA_DIR


def quality() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "quality.py"
    spec = importlib.util.spec_from_file_location("quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ml-100k", "ml-1m", "ncf"])
def test_bars(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = {"ncf": "ncf-ml-1m"}.get(name, name)
    if not (DATA_DIR / f"{file}.npz").exists():
        pytest.skip(f"{DATA_DIR / file}.npz is absent: set MATFAC_DATA_DIR to its folder")
    monkeypatch.setenv("MATFAC_DATA_DIR", str(DATA_DIR))
    rows = quality().CASES[name]()
    assert all(row["passed"] for row in rows), rows
    if name != "ncf":
        als, sgd = (row["value"] for row in rows)
        assert abs(als - sgd) <= 0.005
