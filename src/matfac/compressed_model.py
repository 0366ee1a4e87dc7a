"""All weight matrices of a safetensors file as factor pairs, within a budget of parameters."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matfac import _metric
from matfac._allocation import KEEP, Curve, allocate, curve_of
from matfac._atomic import replacing
from matfac._metric import Metric
from matfac._progress import Bar, shown
from matfac._tensor_file import BITS, FLOATS, Tensor, TensorFile, decode, encode, write_tensors
from matfac._truncated import spectrum
from matfac._validation import check_real
from matfac.compression import errors

__all__ = ["LayerReport", "ModelReport", "compress_model"]

_POINTS = 65  # of a layer's curve in the report


@dataclass(frozen=True)
class LayerReport:
    """What became of one tensor.

    Attributes
    ----------
    name, dtype, shape
        As in the file.
    rank : int or None
        Of its factors ``name.A`` (m, rank) and ``name.B`` (rank, n); None where it was kept.
    kept : str
        Why it was kept as it is; empty where it has factors.
    relative_error : float
        Of the factors as they are written, in the (weighted) norm; 0 where kept.
    parameters_before, parameters_after : int
        Elements; 0 for tensors that hold no floats.
    ranks, relative_errors, singular_values : list
        Points of the layer's curve: the least relative error at a rank, and the rank-th singular
        value of the (weighted) matrix. Empty for tensors that were never candidates.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rank: int | None
    kept: str
    relative_error: float
    parameters_before: int
    parameters_after: int
    ranks: list[int] = field(repr=False)
    relative_errors: list[float] = field(repr=False)
    singular_values: list[float] = field(repr=False)


@dataclass(frozen=True)
class ModelReport:
    """What `compress_model` did.

    Attributes
    ----------
    source, target : str
        Paths.
    budget : float
    parameters_before, parameters_after : int
        Floats in both files.
    layers : list of LayerReport
        Every tensor, in the order of the file written.
    """

    source: str
    target: str
    budget: float
    parameters_before: int
    parameters_after: int
    layers: list[LayerReport]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, all or nothing."""
        with replacing(path) as new:
            new.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass
class _Layer:
    """A matrix that may become a pair."""

    tensor: Tensor
    curve: Curve
    singular: NDArray[np.float64]


def compress_model(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    budget: float,
    skip: Sequence[str] = (),
    statistics: Mapping[str, ArrayLike] | str | os.PathLike[str] | None = None,
    verbose: bool | None = None,
) -> ModelReport:
    r"""Replace the matrices of a safetensors file by factor pairs, within a budget of parameters.

    The ranks lower :math:`\sum_l \|W_l - A_l B_l\|^2 / \|W_l\|^2` over the layers, each in its own
    (weighted) norm as in `compress`, subject to the budget: parameters go where they lower the sum
    most, and a matrix whose spectrum is too flat to be worth factors stays whole. Which do is
    found by a search: the sum is near the least, mostly but not always the least.

    Two passes read one matrix at a time: spectra, then factors. The source is never changed; the
    target, and its report beside it (``.json`` in place of the suffix), appear when they are whole.

    Parameters
    ----------
    source : path-like
        A safetensors file.
    target : path-like
        The file to write: factors under ``NAME.A`` and ``NAME.B`` in the dtype of NAME, everything
        else as it was.
    budget : float
        Share of the file's parameters (elements of all floating tensors) to keep, between 0 and 1.
    skip : sequence of str
        Patterns (as of a shell) of tensors to keep whole.
    statistics : mapping of str to array, or path-like, optional
        What the errors of some matrices weigh: ``NAME.input_cov`` (n, n) or ``NAME.row_weights``
        (m,), as in `compress`; a mapping, or a safetensors file of them. `matfac.torch_layers`
        gathers them.
    verbose : bool or None
        Progress bar on standard error. None: on a terminal only.

    Returns
    -------
    ModelReport
        Ranks, errors, sizes and curves, by tensor; tensors that are kept say why: skipped, no
        matrix, not of F64, F32, F16 or BF16, not finite, or worth its parameters.

    Raises
    ------
    ValueError
        For a truncated or damaged file, an unknown dtype that is not skipped, a budget below rank 1
        everywhere, statistics that fit no matrix, or a target that is the source.

    Examples
    --------
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> from matfac import compress_model
    >>> rng = np.random.default_rng(0)
    >>> low = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    >>> save_file({"a": low, "b": rng.normal(size=(40, 30)), "c": np.ones(30)}, "net.safetensors")
    >>> report = compress_model("net.safetensors", "small.safetensors", budget=0.5)
    >>> {layer.name: layer.rank for layer in report.layers}
    {'a': 3, 'b': 13, 'c': None}
    >>> report.parameters_after <= 0.5 * report.parameters_before
    True
    """
    check_real("budget", budget, above=True, below=1.0)
    show = shown(verbose)
    if Path(target).exists() and os.path.samefile(source, target):
        raise ValueError(f"target is the source {source}: give another name")
    if Path(target).suffix == ".json":
        raise ValueError(f"target must not end in .json, where its report goes: {target}")
    file = TensorFile(source)
    weights = _Statistics(statistics, file)
    tensors = sorted(file.tensors.values(), key=lambda tensor: -BITS.get(tensor.code, 0))
    kept = {tensor.name: _reason(tensor, skip, source) for tensor in tensors}
    with Bar(total=2 * sum(not why for why in kept.values()), disable=not show) as bar:
        layers = list(_layers(file, tensors, kept, weights, bar))
        ranks = _ranks(tensors, layers, budget)
        writer = _Writer(file, tensors, layers, ranks, kept, weights, bar)
        write_tensors(target, writer.entries(), writer.data(), file.metadata)
    report = ModelReport(
        str(source),
        str(target),
        float(budget),
        sum(layer.parameters_before for layer in writer.reports),
        sum(layer.parameters_after for layer in writer.reports),
        writer.reports,
    )
    report.save(Path(target).with_suffix(".json"))
    return report


def _reason(tensor: Tensor, skip: Sequence[str], source: str | os.PathLike[str]) -> str:
    """Why a tensor is kept, by its description; empty for a candidate."""
    if any(fnmatchcase(tensor.name, pattern) for pattern in skip):
        return "skipped"
    if tensor.code not in BITS:
        raise ValueError(
            f"{source}: its tensor {tensor.name!r} has the unknown dtype {tensor.code!r}: name it "
            "in skip to keep it as it is"
        )
    if tensor.code not in FLOATS:
        return f"dtype {tensor.code}"
    if len(tensor.shape) != 2:
        return f"{len(tensor.shape)} dimensions"
    m, n = tensor.shape
    if min(m, n) < 2 or (m * n - 1) // (m + n) < 1:
        return "no rank makes it smaller"
    return ""


class _Statistics:
    """The weights of matrices, checked when they are asked for."""

    def __init__(self, given: Any, file: TensorFile) -> None:
        self._file = TensorFile(given) if isinstance(given, (str, os.PathLike)) else None
        self._given: Mapping[str, Any] = {} if given is None or self._file else given
        for name in self._file.tensors if self._file else self._given:
            matrix, _, kind = name.rpartition(".")
            if kind not in ("input_cov", "row_weights") or matrix not in file.tensors:
                raise ValueError(
                    f"statistics hold {name!r}, which is not NAME.input_cov or NAME.row_weights of "
                    f"a tensor NAME of {file.path}"
                )

    def _get(self, name: str) -> Any:
        if self._file is None:
            return self._given.get(name)
        return self._file.floats(name) if name in self._file.tensors else None

    def metric(self, tensor: Tensor) -> Metric:
        m, n = tensor.shape
        rows = self._get(f"{tensor.name}.row_weights")
        covariance = self._get(f"{tensor.name}.input_cov")
        try:
            return Metric(
                None if rows is None else _metric.row_root(rows, m),
                None,
                None if covariance is None else _metric.root_of_covariance(covariance, n),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"statistics of {tensor.name}: {error}") from None


def _layers(
    file: TensorFile, tensors: list[Tensor], kept: dict[str, str], weights: _Statistics, bar: Any
) -> Iterator[_Layer]:
    for tensor in tensors:
        if kept[tensor.name]:
            continue
        bar.set_description(f"spectrum of {tensor.name}")
        matrix = file.floats(tensor.name)
        if not np.isfinite(matrix).all():
            kept[tensor.name] = "holds NaN or infinity"
            bar.update()
        elif not matrix.any():
            kept[tensor.name] = "all 0"
            bar.update()
        else:
            # The metric, as large as the matrix, is not held but made again for the factors.
            singular = spectrum(weights.metric(tensor).scaled(matrix))
            yield _Layer(tensor, curve_of(len(matrix), matrix.shape[1], singular), singular)
        bar.update()


def _ranks(tensors: list[Tensor], layers: list[_Layer], budget: float) -> dict[str, int]:
    total = sum(tensor.size for tensor in tensors if tensor.code in FLOATS)
    fixed = total - sum(layer.tensor.size for layer in layers)
    try:
        chosen = allocate([layer.curve for layer in layers], math.floor(budget * total) - fixed)
    except ValueError:
        least = fixed + sum(layer.curve.cost(1) for layer in layers)
        raise ValueError(
            f"budget={budget} is too small: {fixed} of {total} parameters are in tensors that are "
            f"kept, and rank 1 in every other makes {least}, so give at least {least / total:.4f}"
        ) from None
    return {layer.tensor.name: rank for layer, rank in zip(layers, chosen, strict=True)}


class _Writer:
    """The tensors of the target in order, and a report of each."""

    def __init__(
        self,
        file: TensorFile,
        tensors: list[Tensor],
        layers: list[_Layer],
        ranks: dict[str, int],
        kept: dict[str, str],
        weights: _Statistics,
        bar: Any,
    ) -> None:
        self._file, self._tensors, self._ranks, self._kept = file, tensors, ranks, kept
        self._weights = weights
        self._layers = {layer.tensor.name: layer for layer in layers}
        self._bar = bar
        self.reports: list[LayerReport] = []

    def entries(self) -> list[tuple[str, str, tuple[int, ...], int]]:
        found: list[tuple[str, str, tuple[int, ...], int]] = []
        for name, code, shape, begin, end in self._tensors:
            rank = self._ranks.get(name, KEEP)
            if rank == KEEP:
                found.append((name, code, shape, end - begin))
                continue
            for part, size in (("A", (shape[0], rank)), ("B", (rank, shape[1]))):
                other = f"{name}.{part}"
                if other in self._file.tensors:
                    raise ValueError(f"{self._file.path} has a tensor {other!r} already: skip it")
                found.append((other, code, size, math.prod(size) * BITS[code] // 8))
        return found

    def data(self) -> Iterator[Iterable[Any]]:
        for tensor in self._tensors:
            rank = self._ranks.get(tensor.name, KEEP)
            if rank == KEEP:
                self._report(tensor, None, 0.0)
                yield self._file.chunks(tensor.name)
            else:
                self._bar.set_description(f"factors of {tensor.name}")
                yield from self._pair(tensor, rank)
            if tensor.name in self._layers:
                self._bar.update()

    def _pair(self, tensor: Tensor, rank: int) -> Iterator[Iterable[Any]]:
        matrix, metric = self._file.floats(tensor.name), self._weights.metric(tensor)
        pair = [encode(factor, tensor.code) for factor in metric.factors(matrix, rank)]
        A, B = (decode(part.tobytes(), tensor.code).reshape(part.shape) for part in pair)
        error, norm = errors(matrix, A, B, metric)
        self._report(tensor, rank, error / norm)
        for part in pair:
            yield (part.tobytes(),)

    def _report(self, tensor: Tensor, rank: int | None, error: float) -> None:
        name, code, shape = tensor.name, tensor.code, tensor.shape
        before = tensor.size if code in FLOATS else 0
        after = before if rank is None else rank * sum(shape)
        why = self._kept[name] or ("" if rank else "worth its parameters")
        layer = self._layers.get(name)
        points: list[int] = []
        relative: list[float] = []
        values: list[float] = []
        if layer is not None:
            points = sorted({*np.linspace(1, min(shape), _POINTS).astype(int).tolist()})
            relative = np.sqrt(layer.curve.tail[points]).tolist()
            values = layer.singular[np.array(points) - 1].tolist()
        self.reports.append(
            LayerReport(
                name, code, shape, rank, why, error, before, after, points, relative, values
            )
        )
