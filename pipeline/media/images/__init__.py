"""Image files in and out, alone, animated or as a folder of frames: the only reader and writer of them (Pillow, pi-heif)."""

from pipeline.media.images.damaged_images import PartialImage, read_partial_image
from pipeline.media.images.reader import DEFAULT_MAX_MEGAPIXELS, check_image, detect_image_kind, read_image
from pipeline.media.images.sequences import (
    ImageSequence,
    find_missing_numbers,
    list_images,
    open_animation,
    open_image_folder,
    read_image_sequence,
)
from pipeline.media.images.writer import check_writable_format, make_thumbnail, merge_planes, output_suffix, resize_to_height, save_image

__all__ = [
    "DEFAULT_MAX_MEGAPIXELS",
    "ImageSequence",
    "PartialImage",
    "check_image",
    "check_writable_format",
    "detect_image_kind",
    "find_missing_numbers",
    "list_images",
    "make_thumbnail",
    "merge_planes",
    "open_animation",
    "open_image_folder",
    "output_suffix",
    "read_image",
    "read_image_sequence",
    "read_partial_image",
    "resize_to_height",
    "save_image",
]
