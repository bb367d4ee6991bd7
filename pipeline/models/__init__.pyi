from . import zoo as zoo
from .batch_norm_folding import fold_batch_norms as fold_batch_norms
from .bundled_network import build_embedded_network as build_embedded_network, read_embedded_weights as read_embedded_weights
from .class_names import (
    FOUND_BY as FOUND_BY,
    find_classes as find_classes,
    find_kinds as find_kinds,
    find_matches as find_matches,
    find_target_class as find_target_class,
    imagenet_classes as imagenet_classes,
    labels_of as labels_of,
    list_classes as list_classes,
    nearest_labels as nearest_labels,
    read_labels as read_labels,
)
from .device import disable_autotune as disable_autotune, use_device as use_device
from .input_geometry import frame_geometry as frame_geometry
from .loading import (
    Classifier as Classifier,
    build_backbone as build_backbone,
    build_zoo_model as build_zoo_model,
    fetch_weights as fetch_weights,
    load_classifier as load_classifier,
    set_precision as set_precision,
)
from .model_metadata import (
    LearnedPicture as LearnedPicture,
    ModelMetadata as ModelMetadata,
    add_metadata as add_metadata,
    read_metadata as read_metadata,
)
from .model_summary import summarize_model as summarize_model
from .network import Network as Network, split_model as split_model
from .pixel_normalization import (
    CAFFE_MEAN_BGR as CAFFE_MEAN_BGR,
    TORCH_MEAN as TORCH_MEAN,
    TORCH_STD as TORCH_STD,
    normalize_pixels as normalize_pixels,
)
