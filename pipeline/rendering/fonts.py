"""The font of labels, charts and contact sheets: Inter, by the Inter Project Authors, under the SIL Open Font License 1.1.

Its files and its licence lie in `pipeline/rendering/fonts/`.
"""

from __future__ import annotations

import functools
import io
from importlib.resources import files

from PIL import ImageFont

# Inter, by the Inter Project Authors, under the SIL Open Font License 1.1 (pipeline/rendering/fonts/Inter-LICENSE.txt).
_FONTS = {"bold": "Inter-SemiBold.otf", "plain": "Inter-Medium.otf"}


@functools.cache
def _font(weight: str, size_px: int) -> ImageFont.FreeTypeFont:
    content = files("pipeline.rendering").joinpath("fonts", _FONTS[weight]).read_bytes()
    return ImageFont.truetype(io.BytesIO(content), size_px)
