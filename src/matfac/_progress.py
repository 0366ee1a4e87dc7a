"""The progress bar of long work."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from tqdm import tqdm

from matfac._validation import check_flag


class Bar(tqdm):
    """A tqdm whose lock is this process's own.

    tqdm's is shared with forked children: one that is killed while it holds the lock would stop
    its parent, and all its siblings, at their next bar.
    """


def shown(verbose: Any) -> bool:
    """Whether `verbose` asks for a bar; None does on a terminal."""
    return sys.stderr.isatty() if verbose is None else check_flag("verbose", verbose)


def _own_lock() -> None:
    Bar.set_lock(threading.RLock())


_own_lock()
if hasattr(os, "register_at_fork"):  # the lock may be another thread's at the fork
    os.register_at_fork(after_in_child=_own_lock)
