"""Jobs as tests ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.explain import job_planning
from pipeline.options import Options


def job_for(path: Path, output: Path, **options: Any) -> job_planning.Job:
    plan = job_planning.plan_images if path.suffix in (".png", ".jpg") else job_planning.plan_videos
    [job] = plan([path], output=output, options=Options(**options))
    assert isinstance(job, job_planning.Job), job
    return job
