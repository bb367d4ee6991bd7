from .analysis_page import (
    AnalysisClass as AnalysisClass,
    AnalysisPage as AnalysisPage,
    AnalysisPair as AnalysisPair,
    AnalysisPicture as AnalysisPicture,
    ChartPair as ChartPair,
    Threshold as Threshold,
    write_analysis_page as write_analysis_page,
)
from .archive_page import (
    ArchiveItem as ArchiveItem,
    ArchivePage as ArchivePage,
    Sighting as Sighting,
    write_archive_page as write_archive_page,
)
from .charts import (
    DARK_COLOURS as DARK_COLOURS,
    LIGHT_COLOURS as LIGHT_COLOURS,
    ChartColours as ChartColours,
    draw_calibration as draw_calibration,
    draw_confusion as draw_confusion,
    draw_coverage as draw_coverage,
    draw_learning_curve as draw_learning_curve,
)
from .pictures_page import PictureItem as PictureItem, PicturesPage as PicturesPage, write_pictures_page as write_pictures_page
from .video_page import VideoPage as VideoPage, write_timeline as write_timeline, write_video_page as write_video_page
