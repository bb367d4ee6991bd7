"""The one alias for arrays. Shapes, dtypes and ranges stand in the docstrings of what takes and gives them."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
