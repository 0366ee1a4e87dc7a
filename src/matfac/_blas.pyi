import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType

def table() -> CapsuleType: ...
def leading_eigen(
    matrix: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
