from .explanations import STATE_VERSION as STATE_VERSION, Explanations as Explanations, top_predictions as top_predictions
from .label_intervals import (
    PAUSE_WITH_CUT_SECONDS as PAUSE_WITH_CUT_SECONDS,
    SHOWN_SCORE as SHOWN_SCORE,
    find_kind_intervals as find_kind_intervals,
    find_label_intervals as find_label_intervals,
)
from .raw_maps import RawMaps as RawMaps
from .tables import write_predictions as write_predictions, write_ranking as write_ranking, write_table as write_table
