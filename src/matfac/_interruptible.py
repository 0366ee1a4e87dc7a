"""What Ctrl-C waits for: short blocks, but no long calls into LAPACK, NumPy and SciPy."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_LONG = 1e8  # multiplications: a tenth of a second or less
_ENTRY = 50  # of a matrix that is converted, checked or cut: as many multiplications, at most
_LOOK = 0.03  # seconds between looks for Ctrl-C where waiting does not see it by itself
_NAME = "matfac-left"


def interruptible(multiplications: float, work: Callable[[], T]) -> T:
    """Return ``work()``, which must let other threads run and change nothing that is shared.

    It may be a call that sees no signals. On Ctrl-C it is left to itself: it ends in its own time,
    and what it found is dropped. A fork and the end of the process wait for it.
    Only the main thread gets Ctrl-C, and short calls are not worth a thread.
    """
    if multiplications < _LONG or threading.current_thread() is not threading.main_thread():
        return work()
    found: list[T] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again where it was called
            failed.append(error)
        finally:
            done.set()

    context = contextvars.copy_context()
    # No daemon: at exit what the call uses is taken from under it, and OpenBLAS can hang.
    aside = threading.Thread(target=context.run, args=(run,), name=_NAME, daemon=False)
    try:
        aside.start()
    except RuntimeError:  # too many threads, or the interpreter is about to end
        return work()
    while not done.wait(_LOOK):
        pass
    if failed:
        raise failed[0]
    return found[0]


def over_entries(count: float, work: Callable[[], T]) -> T:
    """`interruptible`, for passes of NumPy or SciPy over so many entries or cells."""
    return interruptible(_ENTRY * count, work)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, which must be short: nothing is left half done.

    So does SIGTERM, where a handler in Python makes it an exception.
    """
    with _held_back(signal.SIGINT), _held_back(signal.SIGTERM):
        yield


@contextlib.contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    here = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(number) if here else None  # no other thread gets signals
    if not callable(handler):
        yield
        return
    came: list[FrameType | None] = []
    try:
        signal.signal(number, lambda _, frame: came.append(frame))
        yield
    finally:
        signal.signal(number, handler)
        if came:
            handler(number, came[0])


def wait_for_left_calls() -> None:
    """Wait until no call runs that was left."""
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join()


if hasattr(os, "register_at_fork"):  # OpenBLAS waits for ever for a call that is not in the child
    os.register_at_fork(before=wait_for_left_calls)
