from .demo_clip import (
    PHOTOGRAPHS as PHOTOGRAPHS,
    SECONDS as SECONDS,
    SHOTS as SHOTS,
    encode_pictures as encode_pictures,
    make_clip as make_clip,
    read_photograph as read_photograph,
    write_photographs as write_photographs,
)
from .image_job import (
    make_thumbnails as make_thumbnails,
    read_and_render as read_and_render,
    visualize_image as visualize_image,
    visualize_images as visualize_images,
)
from .job_planning import (
    Job as Job,
    Refusal as Refusal,
    Skipped as Skipped,
    plan_images as plan_images,
    plan_predictions as plan_predictions,
    plan_task as plan_task,
    plan_videos as plan_videos,
)
from .model_session import (
    Session as Session,
    count_scorecam_passes as count_scorecam_passes,
    make_describer as make_describer,
    open_session as open_session,
)
from .parallel_parts import SeamError as SeamError, join_parts as join_parts, parts_of as parts_of, render_part as render_part
from .prediction_job import InputPrediction as InputPrediction, make_scorer as make_scorer, predict as predict
from .result_pages import (
    MAX_EMBEDDED as MAX_EMBEDDED,
    write_pictures_page as write_pictures_page,
    write_prediction_grid as write_prediction_grid,
    write_video_extras as write_video_extras,
)
from .segment_journal import discard as discard, folder_of as folder_of, leftovers as leftovers
from .video_job import visualize_video as visualize_video
