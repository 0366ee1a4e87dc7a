"""What a search for parameters found: trials, best parameters, frame and plot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matfac import metrics

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Trial = dict[str, Any]

# Metrics of ratings: the lower, the better.
ERRORS = {"rmse": metrics.rmse, "mae": metrics.mae}


@dataclass
class TuneResult:
    """What a search found.

    Attributes
    ----------
    best_params : dict
        Of the trial with the best score among those with the full `n_factors` and `n_iter` (or,
        interrupted, with the largest reached).
    best_score : float
        Its score on the validation part.
    metric : str
    model : estimator or None
        Fitted anew to all of X with `best_params`; None with ``refit=False`` and after Ctrl-C.
    trials : list of dict
        In order: `rung`, `n_factors`, `n_iter` and the parameters tried, `score` (NaN where the
        fit diverged) and `seconds`.
    at_edge : list of str
        Parameters whose best value is an end of the values tried: a wider grid may do better.
    interrupted : bool
        Ctrl-C ended the search; what was done until then is here.
    """

    metric: str
    trials: list[Trial] = field(default_factory=list, repr=False)
    best_params: dict[str, Any] = field(default_factory=dict)
    best_score: float = math.nan
    model: Any = field(default=None, repr=False)
    at_edge: list[str] = field(default_factory=list)
    interrupted: bool = False

    def to_frame(self) -> pd.DataFrame:
        """Return the trials as a pandas frame, best first within a rung, the last rung on top.

        Raises
        ------
        ImportError
            If pandas is not installed; `trials` is a list of dicts without it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas, which is not installed: pip install pandas, or use trials"
            ) from error
        frame = pd.DataFrame(self.trials)
        return frame.sort_values(
            ["rung", "score"], ascending=[False, self.metric in ERRORS], ignore_index=True
        )

    def plot(self) -> Figure:
        """Draw the score over each parameter that was varied, one panel each.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed (the extra ``plot``).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(
                "plot needs matplotlib, which is not installed: pip install 'matfac[plot]'"
            ) from error
        names = [name for name in self.best_params if len(self._tried(name)) > 1]
        names = names or list(self.best_params)[:1]
        figure = Figure(figsize=(4 * max(len(names), 1), 3.2), layout="constrained")
        for at, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), at + 1)
            values = self._tried(name)
            numeric = _are_numbers(values)
            if numeric and min(values) > 0:
                axes.set_xscale("log")
            for rung in range(1 + max(trial["rung"] for trial in self.trials)):
                own = [t for t in self.trials if t["rung"] == rung and name in t]
                x = [t[name] if numeric else str(t[name]) for t in own]
                label = f"n_factors={max((t['n_factors'] for t in own), default=0)}"
                axes.plot(x, [t["score"] for t in own], "o", label=label, alpha=0.4 + 0.2 * rung)
            axes.set_xlabel(name)
            axes.set_ylabel(self.metric)
            axes.legend()
        return figure

    @property
    def _sign(self) -> float:
        return -1.0 if self.metric in ERRORS else 1.0

    def _rank(self, trial: Trial) -> float:
        """Return what the best trial has the most of; a fit that diverged ranks last."""
        return -math.inf if math.isnan(trial["score"]) else self._sign * float(trial["score"])

    def _leader(self) -> Trial:
        """Return the best trial of the last rung so far."""
        last = max(trial["rung"] for trial in self.trials)
        return max((t for t in self.trials if t["rung"] == last), key=self._rank)

    def _conclude(self, names: list[str]) -> None:
        """Set what the trials say about the parameters `names`."""
        best = self._leader()
        if math.isnan(best["score"]):
            raise ValueError(
                "grid has no candidate whose fit converged: try a smaller learning_rate"
            )
        self.best_score = float(best["score"])
        self.best_params = {name: best[name] for name in names if name in best}
        self.at_edge = []
        for name, value in self.best_params.items():
            tried = self._tried(name)
            if len(tried) > 2 and _are_numbers(tried) and value in (min(tried), max(tried)):
                self.at_edge.append(name)

    def _tried(self, name: str) -> list[Any]:
        return list(dict.fromkeys(trial[name] for trial in self.trials if name in trial))


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)
