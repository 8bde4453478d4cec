from typing import Any

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig

def simple_compress(nums: NDArray[np.generic], config: ChunkConfig) -> bytes: ...
def simple_decompress(compressed: bytes) -> NDArray[Any] | None:
    """Return the numbers in the type that they had; none of them gives ``None``."""
