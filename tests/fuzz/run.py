"""Bad input by the million: `python tests/fuzz/run.py [--inputs 1000000]`, each target's share.

Prints how many were tried. An input that is taken for good, an unexpected error, a crash or a hang
ends it; the seed is printed first, so that it comes again.
"""

from __future__ import annotations

import argparse
import faulthandler
import time
import warnings
from collections.abc import Callable

import bindings
import files

# target: what it tries, and its share
TARGETS: dict[str, tuple[Callable[[int, int], int], float]] = {
    "bindings of the core": (bindings.run, 0.84),
    "model files": (files.model_files, 0.13),
    "CSV, TSV, text and Parquet": (files.tables, 0.03),
}
PIECE = 2000  # inputs between looks at the clock
PATIENCE = 120  # seconds that a piece may take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    warnings.simplefilter("ignore")
    total = 0
    for name, (target, share) in TARGETS.items():
        wanted, tried, start = round(args.inputs * share), 0, time.perf_counter()
        while tried < wanted:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)  # a hang
            tried += target(min(PIECE, wanted - tried), args.seed + tried)
        faulthandler.cancel_dump_traceback_later()
        seconds = time.perf_counter() - start
        print(f"{name}: {tried} bad inputs, {seconds:.0f} s", flush=True)
        total += tried
    print(f"{total} in all: none crashed, hung or was taken for good")


if __name__ == "__main__":
    main()
