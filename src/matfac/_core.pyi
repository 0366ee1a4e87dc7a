from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[Any]

LANES: int

def build_info() -> dict[str, Any]: ...
def isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def max_threads() -> int: ...
def release_thread_pool() -> None: ...
def wait_for_calls_aside() -> None: ...
def set_blas(capsule: CapsuleType) -> None: ...
def has_blas() -> bool: ...
def empty_table(n_rows: int, k: int, dtype: str) -> Floats: ...
def copy_array(to: Floats, array: Floats, n_threads: int) -> None: ...
def narrow_indices(indices: I64, n_cols: int, n_threads: int) -> I32: ...
def number_strings(bounds: I64, data: NDArray[np.uint8]) -> tuple[I32, I64]: ...
def value_range(values: Floats, n_threads: int) -> tuple[float, float]: ...
def row_sums(indptr: I64, values: Floats, weights: Floats | None, n_threads: int) -> F64: ...
def random_table(
    n_rows: int, k: int, dtype: str, std: float, seed: int, nonnegative: bool, n_threads: int
) -> Floats: ...

class CsrFloat32:
    def __init__(
        self, n_cols: int, indptr: I64, indices: I32, values: F32, weights: F32 | None = None
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nnz(self) -> int: ...
    @property
    def indptr(self) -> I64: ...
    @property
    def indices(self) -> I32: ...
    @property
    def values(self) -> F32: ...
    @property
    def weights(self) -> F32 | None: ...
    def transposed_arrays(self, n_threads: int) -> tuple[I64, I32, F32, F32 | None]: ...

class CsrFloat64:
    def __init__(
        self, n_cols: int, indptr: I64, indices: I32, values: F64, weights: F64 | None = None
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nnz(self) -> int: ...
    @property
    def indptr(self) -> I64: ...
    @property
    def indices(self) -> I32: ...
    @property
    def values(self) -> F64: ...
    @property
    def weights(self) -> F64 | None: ...
    def transposed_arrays(self, n_threads: int) -> tuple[I64, I32, F64, F64 | None]: ...

class BasisFloat32: ...
class BasisFloat64: ...

def half_sweep(
    csr: CsrFloat32 | CsrFloat64,
    *,
    loss: str,
    mean: float = 0.0,
    alpha: float = 0.0,
    k: int,
    fixed: Floats,
    solved: Floats,
    fixed_bias: Floats | None = None,
    solved_bias: Floats | None = None,
    prior: Floats | None = None,
    prior_bias: Floats | None = None,
    ridge: Floats,
    fixed_weight: Floats | None = None,
    lasso: Floats | None = None,
    nonnegative: bool = False,
    cg_steps: int,
    tolerance: float = 0.0,
    relaxation: float = 1.0,
    keep_basis: bool = False,
    basis: BasisFloat32 | BasisFloat64 | None = None,
    along: Sequence[Floats] = (),
    n_threads: int,
) -> tuple[float, float]: ...
def shared_basis(table: Floats, *, k: int, n_threads: int) -> BasisFloat32 | BasisFloat64: ...
def multiply(
    csr: CsrFloat32 | CsrFloat64, *, k: int, table: Floats, out: Floats, n_threads: int
) -> None: ...
def loss_value(
    csr: CsrFloat32 | CsrFloat64,
    *,
    loss: str,
    mean: float = 0.0,
    alpha: float = 0.0,
    k: int,
    users: Floats,
    items: Floats,
    user_bias: Floats | None = None,
    item_bias: Floats | None = None,
    n_threads: int,
) -> float: ...
def ridge_value(
    table: Floats, k: int, bias: Floats | None, ridge: Floats, n_threads: int = 1
) -> float: ...

class SgdPlanFloat32:
    def __init__(self, csr: CsrFloat32, k: int, seed: int, n_threads: int) -> None: ...
    def visits(self, number: int) -> tuple[I32, I32, F32, F32 | None]: ...
    @property
    def bands(self) -> int: ...
    @property
    def turns(self) -> int: ...
    @property
    def nnz(self) -> int: ...
    def epoch(
        self,
        *,
        k: int,
        users: F32,
        items: F32,
        user_rows: F32,
        item_rows: F32,
        mean: float,
        rate: float,
        bias_rate: float,
        bias: bool,
        nonnegative: bool = False,
        number: int,
        deterministic: bool,
        limit: float = ...,
        n_threads: int,
    ) -> float: ...

class SgdPlanFloat64:
    def __init__(self, csr: CsrFloat64, k: int, seed: int, n_threads: int) -> None: ...
    def visits(self, number: int) -> tuple[I32, I32, F64, F64 | None]: ...
    @property
    def bands(self) -> int: ...
    @property
    def turns(self) -> int: ...
    @property
    def nnz(self) -> int: ...
    def epoch(
        self,
        *,
        k: int,
        users: F64,
        items: F64,
        user_rows: F64,
        item_rows: F64,
        mean: float,
        rate: float,
        bias_rate: float,
        bias: bool,
        nonnegative: bool = False,
        number: int,
        deterministic: bool,
        limit: float = ...,
        n_threads: int,
    ) -> float: ...

class PairwisePlanFloat32:
    def __init__(
        self, csr: CsrFloat32, k: int, seed: int, by_popularity: bool, n_threads: int
    ) -> None: ...
    def samples(self, number: int, negatives: int) -> tuple[I32, I32, I32]: ...
    def epoch(
        self,
        *,
        k: int,
        users: F32,
        items: F32,
        user_rows: F32,
        item_rows: F32,
        mean: float,
        loss: str,
        negatives: int,
        rate: float,
        bias: bool,
        number: int,
        deterministic: bool,
        n_threads: int,
    ) -> tuple[float, int]: ...

class PairwisePlanFloat64:
    def __init__(
        self, csr: CsrFloat64, k: int, seed: int, by_popularity: bool, n_threads: int
    ) -> None: ...
    def samples(self, number: int, negatives: int) -> tuple[I32, I32, I32]: ...
    def epoch(
        self,
        *,
        k: int,
        users: F64,
        items: F64,
        user_rows: F64,
        item_rows: F64,
        mean: float,
        loss: str,
        negatives: int,
        rate: float,
        bias: bool,
        number: int,
        deterministic: bool,
        n_threads: int,
    ) -> tuple[float, int]: ...

def pairwise_fold_in(
    csr: CsrFloat32 | CsrFloat64,
    *,
    k: int,
    users: Floats,
    items: Floats,
    user_rows: Floats,
    item_rows: Floats,
    mean: float,
    loss: str,
    negatives: int,
    rates: list[float],
    bias: bool,
    pool: I32,
    n_threads: int,
) -> None: ...
def predict(
    *,
    k: int,
    users: Floats,
    items: Floats,
    user_bias: Floats | None = None,
    item_bias: Floats | None = None,
    mean: float = 0.0,
    user_index: I32,
    item_index: I32,
    n_threads: int,
) -> F64: ...
def top_k(
    *,
    k: int,
    queries: Floats,
    items: Floats,
    item_bias: Floats | None = None,
    candidates: I32 | None = None,
    include: tuple[I64, I32] | None = None,
    exclude: Sequence[tuple[I64, I32]] = (),
    n_best: int,
    n_threads: int,
) -> tuple[I32, Floats]: ...

LIST_METRICS: tuple[str, ...]

def list_metrics(
    *, lists: I32, relevant_indptr: I64, relevant_indices: I32, k: int, n_threads: int
) -> F64: ...
def auc(
    *,
    k: int,
    queries: Floats,
    items: Floats,
    item_bias: Floats | None = None,
    exclude: Sequence[tuple[I64, I32]] = (),
    relevant_indptr: I64,
    relevant_indices: I32,
    n_threads: int,
) -> F64: ...
