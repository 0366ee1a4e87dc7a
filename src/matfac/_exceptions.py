"""Errors of our own; bad input raises ValueError or TypeError."""

from __future__ import annotations


class ConvergenceError(ArithmeticError):
    """A fit diverged: the message names the epoch and the step size, and the mend."""
