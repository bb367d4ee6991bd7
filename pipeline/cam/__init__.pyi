from .batching import AT_ONCE as AT_ONCE, compute_batches as compute_batches, read_batches as read_batches
from .explainer import (
    BatchExplanation as BatchExplanation,
    make_class_mapper as make_class_mapper,
    make_explainer as make_explainer,
    make_feature_extractor as make_feature_extractor,
    make_scorer as make_scorer,
)
from .graph_compilation import default_batch_size as default_batch_size
from .layer_fusion import fuse_class_mappers as fuse_class_mappers, fuse_explainers as fuse_explainers
from .score_cam import SCORECAM_CHANNELS as SCORECAM_CHANNELS, scorecam_pass_counter as scorecam_pass_counter
