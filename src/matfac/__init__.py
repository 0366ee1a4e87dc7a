"""matfac: fast matrix factorization of large sparse matrices on CPUs."""

from __future__ import annotations

from importlib.metadata import version as _version

from matfac import calibration, datasets, embeddings, metrics, plotting, reference, splits
from matfac._checkpoint import Checkpoint
from matfac._engine import show_config
from matfac._exceptions import ConvergenceError
from matfac._persistence import load
from matfac._tune_result import TuneResult
from matfac.compressed_model import compress_model
from matfac.compression import Compressed, compress
from matfac.explicit import ExplicitMF
from matfac.implicit import ImplicitMF
from matfac.interactions import Interactions
from matfac.lowrank import LowRankMF
from matfac.pairs import RatingRegressor
from matfac.parameters import parameters_from
from matfac.ranking import RankingMF
from matfac.tuning import tune
from matfac.weighting import time_decay

__version__ = _version("matfac")

__all__ = [
    "Checkpoint",
    "Compressed",
    "ConvergenceError",
    "ExplicitMF",
    "ImplicitMF",
    "Interactions",
    "LowRankMF",
    "RankingMF",
    "RatingRegressor",
    "TuneResult",
    "__version__",
    "calibration",
    "compress",
    "compress_model",
    "datasets",
    "embeddings",
    "load",
    "metrics",
    "parameters_from",
    "plotting",
    "reference",
    "show_config",
    "splits",
    "time_decay",
    "tune",
]
