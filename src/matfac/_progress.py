"""The progress bar of long work."""

from __future__ import annotations

import os
import threading

from tqdm import tqdm


class Bar(tqdm):
    """A tqdm whose lock is this process's own.

    tqdm's is shared with forked children: one that is killed while it holds the lock would stop
    its parent, and all its siblings, at their next bar.
    """


def _own_lock() -> None:
    Bar.set_lock(threading.RLock())


_own_lock()
if hasattr(os, "register_at_fork"):  # the lock may be another thread's at the fork
    os.register_at_fork(after_in_child=_own_lock)
