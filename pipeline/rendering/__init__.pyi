from .contact_sheet import draw_contact_sheet as draw_contact_sheet
from .fonts import Weight as Weight, load_font as load_font, open_font_file as open_font_file
from .frame_renderer import (
    THUMBNAIL_PX as THUMBNAIL_PX,
    Explanation as Explanation,
    FrameRenderer as FrameRenderer,
    as_thumbnail as as_thumbnail,
)
from .heat_blending import colormap as colormap
from .label_box import measure_longest_name as measure_longest_name
from .layouts import Canvas as Canvas, arrange_panels as arrange_panels
from .smoothing import REFERENCE_RATE_HZ as REFERENCE_RATE_HZ, SceneMean as SceneMean
from .steady_title import SteadyTitle as SteadyTitle
