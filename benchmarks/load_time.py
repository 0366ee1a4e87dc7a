"""Size of model files, and the time to load one and to answer a first request.

Each load is in a fresh process; the file is in the page cache, as after a deployment's copy. A
request is `recommend` for one user on one thread. "Own" is the anonymous memory that loading and
answering added: what processes with the same file do not share.
Run: python benchmarks/load_time.py [--repeats 5]; MovieLens 1M from MATFAC_DATA_DIR where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from matfac import ImplicitMF, Interactions, datasets

CHILD = """
import json, resource, sys, time
import matfac
anonymous = lambda: int(open("/proc/self/statm").read().split()[1]) - int(
    open("/proc/self/statm").read().split()[2])
before = anonymous()
start = time.perf_counter()
model = matfac.load(sys.argv[1])
loaded = time.perf_counter()
model.set_params(n_threads=1).recommend(model.user_ids_[:1], k=10)
first = time.perf_counter()
own = (anonymous() - before) * resource.getpagesize() / 1e6
print(json.dumps([loaded - start, first - loaded, own]))
"""


def cases() -> Iterator[tuple[str, Interactions]]:
    """Yield names and data."""
    file = Path(os.environ.get("MATFAC_DATA_DIR", "."), "ml-1m.npz")
    if file.exists():
        with np.load(file) as z:
            ratings = sp.csr_array((z["rating"], (z["user"], z["item"])))
        yield "MovieLens 1M, 6,040 x 3,706", Interactions(ratings, *map(np.arange, ratings.shape))
    clicks = datasets.planted_clicks(138_000, 27_000, 10_000_000, rank=16, seed=0).train
    users, items = (np.arange(n) for n in clicks.shape)
    yield "planted 138,000 x 27,000, 10M entries", Interactions(clicks, users, items)
    names = [f"user-{u:09}" for u in users], [f"item-{i:09}" for i in items]
    yield "the same with ids of 14 letters", Interactions(clicks, *names)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print("| model, d = 64, float32 | file MB | load ms | first request ms | own MB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        for name, data in cases():
            ImplicitMF(n_factors=64, n_iter=1, random_state=0).fit(data).save(path)
            runs = [
                json.loads(subprocess.check_output([sys.executable, "-c", CHILD, str(path)]))
                for _ in range(repeats)
            ]
            load, first, own = np.median(runs, axis=0)
            size = path.stat().st_size / 1e6
            print(
                f"| {name} | {size:.1f} | {1e3 * load:.1f} | {1e3 * first:.1f} | {own:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
