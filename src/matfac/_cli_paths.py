"""Files that a command must not write over."""

from __future__ import annotations

import os
from pathlib import Path


def check_target(option: str, target: Path, *sources: Path | None) -> None:
    """Refuse to write over a file that the command reads, under whatever name."""
    for source in sources:
        if source is not None and _same(target, source):
            raise ValueError(
                f"{option} {target} is the file {source}, which is read: give another name"
            )


def _same(a: Path, b: Path) -> bool:
    if a.exists() and b.exists():
        return os.path.samefile(a, b)
    return os.path.realpath(a) == os.path.realpath(b)  # neither is there as yet
