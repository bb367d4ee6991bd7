from .archive_layout import Request as Request, survey as survey
from .executors.local_executor import LocalExecutor as LocalExecutor, choose_worker_count as choose_worker_count
from .executors.ray_executor import open_executor as open_executor
from .messages import (
    TASKS_AT_ONCE as TASKS_AT_ONCE,
    Broken as Broken,
    Executor as Executor,
    Lost as Lost,
    Ready as Ready,
    Result as Result,
    Setup as Setup,
    Task as Task,
)
from .progress import Overview as Overview, Summary as Summary
from .scanning.inclusion_rules import Rules as Rules, parse_shard as parse_shard, parse_size as parse_size
from .scheduler import run as run
from .sighting_search import Hit as Hit, cut_clip as cut_clip, search as search
from .status_report import Status as Status, read_status as read_status
from .store.attempt_outcomes import Finished as Finished
from .store.job_store import Store as Store, open_store as open_store
from .store.row_records import Entry as Entry, Lease as Lease
