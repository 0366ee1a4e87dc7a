"""What a fit of a package is told, and what is measured of it; needs NumPy and SciPy alone."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import scipy.sparse as sp

STATUS = Path("/proc/self/status")


class Fit:
    """Settings, clock and memory of a fit."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.task: str = settings["task"]
        self.d: int = settings["d"]
        self.n_iter: int = settings["n_iter"]
        self.threads: int = settings["threads"]
        self.reg: float = settings["reg"]
        self.reg_exponent: float = settings.get("reg_exponent", 1.0)
        self.alpha: float = settings.get("alpha", 0.0)
        self.rate: float = settings.get("rate", 0.0)
        self.seed: int = settings["seed"]
        self.built: str = settings.get("built", "")  # where a peer lies that pip does not install
        self.train: str = settings["train"]
        self.iterations: list[float] = []  # seconds of each, where the package tells
        self.objectives: list[float] = []  # after each, where the package tells
        self.seconds = self.peak_mb = 0.0

    def matrix(self) -> sp.csr_matrix:
        """Users x items, float32, with 32-bit indices."""
        return sp.csr_matrix(sp.load_npz(self.train))

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.peak_mb = peak_mb()


def peak_mb() -> float:
    """Peak resident memory of the process."""
    if STATUS.exists():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
