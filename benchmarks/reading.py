"""From a table of interactions to a CSR matrix and its ids, beside what is written by hand.

    python benchmarks/reading.py [--entries 5000000] [--repeats 5]

By hand: pandas reads the file, `factorize(sort=True)` numbers the ids, SciPy makes the matrix. Both
in turn, the file in the page cache; both have to give the same matrix and the same ids.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

import machine
from matfac import Interactions, datasets


def tables(entries: int) -> dict[str, pd.DataFrame]:
    """Planted clicks with ratings, by integer ids and by strings, shuffled."""
    clicks = datasets.planted_clicks(entries // 72, entries // 370, entries, rank=8, seed=0).train
    coo = clicks.tocoo()
    order = np.random.default_rng(0).permutation(coo.nnz)
    numbers = pd.DataFrame({"user": coo.row[order], "item": coo.col[order]})
    numbers["rating"] = 1 + order % 5
    strings = numbers.assign(
        user="user-" + numbers["user"].astype(str), item="item-" + numbers["item"].astype(str)
    )
    return {"integers": numbers, "strings": strings}


def by_hand(path: Path) -> tuple[sp.csr_array, Any, Any]:
    """What users write."""
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    rows, users = pd.factorize(frame["user"], sort=True)
    columns, items = pd.factorize(frame["item"], sort=True)
    values = frame["rating"].to_numpy(np.float32)
    return sp.csr_array((values, (rows, columns))), users, items


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{chosen.entries:,} entries, {chosen.repeats} runs; {machine.describe()['cpu']}\n")
    print("| ids | file | MB | matfac s | by hand s | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, frame in tables(chosen.entries).items():
            for suffix in ("csv", "parquet"):
                path = Path(folder, f"{kind}.{suffix}")
                write = frame.to_csv if suffix == "csv" else frame.to_parquet
                write(path, index=False)
                seconds = []
                for _ in range(chosen.repeats):
                    begin = time.perf_counter()
                    read = Interactions.read(path)
                    middle = time.perf_counter()
                    matrix, users, items = by_hand(path)
                    seconds.append((middle - begin, time.perf_counter() - middle))
                    assert (read.matrix != matrix).nnz == 0
                    assert np.array_equal(read.user_ids, users)
                    assert np.array_equal(read.item_ids, items)
                own, other = np.median(seconds, axis=0)
                ratio = np.median([hand / ours for ours, hand in seconds])
                size = path.stat().st_size / 1e6
                print(
                    f"| {kind} | {suffix} | {size:.0f} | {own:.2f} | {other:.2f} | {ratio:.2f}x |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
