from .atomic import PendingFile as PendingFile, atomic_write as atomic_write, flush as flush, remove_leftovers as remove_leftovers
from .disk_space import find_disk_full as find_disk_full
from .file_types import (
    HEAD_BYTES as HEAD_BYTES,
    JPEG_STREAM_SUFFIXES as JPEG_STREAM_SUFFIXES,
    PICTURE_SUFFIXES as PICTURE_SUFFIXES,
    VIDEO_SUFFIXES as VIDEO_SUFFIXES,
    choose_command as choose_command,
    describe_other_type as describe_other_type,
    detect_image_format as detect_image_format,
    detect_type as detect_type,
    explain_no_file as explain_no_file,
    is_text as is_text,
    is_webp_animated as is_webp_animated,
    name_other_type as name_other_type,
    refuse_address as refuse_address,
)
from .fingerprints import checksum_file as checksum_file, hash_bytes as hash_bytes, hash_file as hash_file, hash_json as hash_json
from .locks import LOCK_NAME as LOCK_NAME, lock_folder as lock_folder
from .output_paths import (
    REPLACE as REPLACE,
    FileId as FileId,
    check_output as check_output,
    identify_files as identify_files,
    name_outputs as name_outputs,
    page_of as page_of,
    pictures_page_of as pictures_page_of,
)
from .processes import Process as Process, count_cores as count_cores, is_running as is_running
