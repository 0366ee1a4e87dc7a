"""How many cores this process may use: affinity and the quotas of control groups."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from matfac import _core

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def default_threads() -> int:
    """Return OMP_NUM_THREADS where set, else the number of cores this process may use."""
    most = _core.max_threads()
    if os.environ.get("OMP_NUM_THREADS") or not hasattr(os, "sched_getaffinity"):
        return most
    quota = _least_quota(int(time.monotonic()))
    return max(1, min(most, len(os.sched_getaffinity(0)), quota))


@lru_cache(maxsize=1)
def _least_quota(_: int) -> int:
    """Return the least of `quotas`, remembered for a second: it takes three predictions' time."""
    return min(quotas(), default=sys.maxsize)


def quotas() -> Iterator[int]:
    """Yield the cores that each control group above this process allows, where any does."""
    for folder in _groups():
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                text = " ".join((folder / name).read_text(encoding="ascii") for name in files)
                quota, period = map(int, text.split())
            except (OSError, ValueError):  # no such file, or "max"
                continue
            if quota > 0 and period > 0:
                yield max(1, math.ceil(quota / period))


def _groups() -> Iterator[Path]:
    """Yield the folders of version 2, and of version 1's controller of cores, up to the root.

    A container often sees its own group as the root, under whatever name.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        lines = []
    paths = {("", "/"), ("cpu", "/"), ("cpu,cpuacct", "/")}
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers == "" or "cpu" in controllers.split(","):
            paths.add((controllers, path))
            paths.add(("cpu" if controllers else "", path))
    for mount, path in paths:
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield GROUPS / mount / str(group).lstrip("/")
