from .class_folders import (
    Dataset as Dataset,
    Example as Example,
    Part as Part,
    check_trainable as check_trainable,
    class_weights as class_weights,
    load_dataset as load_dataset,
    split_dataset as split_dataset,
)
from .labelled_pictures import (
    CachedDataset as CachedDataset,
    LabelledPicture as LabelledPicture,
    cache_pixels as cache_pixels,
    read_labelled_picture as read_labelled_picture,
    warn_of_duplicates as warn_of_duplicates,
)
from .near_duplicates import DuplicatePairs as DuplicatePairs, PictureSignature as PictureSignature, find_pairs as find_pairs
from .pixel_cache import PixelCache as PixelCache
