from .damage_checks import (
    describe_damage as describe_damage,
    find_last_frame_seconds as find_last_frame_seconds,
    has_jumps as has_jumps,
    straighten_times as straighten_times,
)
from .encoders import (
    ENCODERS as ENCODERS,
    Encoder as Encoder,
    check_container as check_container,
    choose_encoder as choose_encoder,
    default_suffix as default_suffix,
    try_encoder as try_encoder,
)
from .ffmpeg_process import (
    ffmpeg_path as ffmpeg_path,
    ffmpeg_version as ffmpeg_version,
    find_ffmpeg_with as find_ffmpeg_with,
    kill_all as kill_all,
)
from .frame_reader import (
    RANGE_TOLERANCE_SECONDS as RANGE_TOLERANCE_SECONDS,
    ReadPosition as ReadPosition,
    checksum_luma as checksum_luma,
    read_frames as read_frames,
)
from .muxer import SegmentFile as SegmentFile, SourceTracks as SourceTracks, cut_clip as cut_clip, mux as mux
from .probing import LONGEST_LAST_FRAME_SECONDS as LONGEST_LAST_FRAME_SECONDS, UNSEEKABLE as UNSEEKABLE, probe as probe
from .resizing import (
    PHOTOGRAPH_COLOUR as PHOTOGRAPH_COLOUR,
    PICTURES_COLOUR as PICTURES_COLOUR,
    PICTURES_COLOUR_TAGS as PICTURES_COLOUR_TAGS,
    FrameResizer as FrameResizer,
    NetworkResizer as NetworkResizer,
    image_to_frame as image_to_frame,
    images_to_frames as images_to_frames,
    resize_for_network as resize_for_network,
)
from .segment_writer import OutputVideo as OutputVideo, write_segment as write_segment
