"""Items without history on real data, as benchmarks/cold_items.py measures them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import DATA_DIR


def cold_items() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "cold_items.py"
    spec = importlib.util.spec_from_file_location("cold_items", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cold_items"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_features_beat_popularity_and_the_mean_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ml-1m.npz", "ml-1m.titles.tsv"):
        if not (DATA_DIR / name).exists():
            pytest.skip(f"{DATA_DIR / name} is absent: set MATFAC_DATA_DIR to its folder")
    monkeypatch.setenv("MATFAC_DATA_DIR", str(DATA_DIR))
    module = cold_items()
    rows = list(module.table({}, seeds=(0,)))
    chance, popularity, mean, _, features = (row["recall"] for row in rows)
    for at in range(len(module.LENGTHS)):
        assert features[at] > 1.4 * popularity[at]
        assert features[at] > 2.5 * mean[at]
        assert features[at] > 2.5 * chance[at]
