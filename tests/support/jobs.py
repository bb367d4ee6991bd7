"""Jobs as tests ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.explain import planning
from pipeline.options import Options


def job_for(path: Path, output: Path, **options: Any) -> planning.Job:
    plan = planning.plan_images if path.suffix in (".png", ".jpg") else planning.plan_videos
    [job] = plan([path], output=output, options=Options(**options))
    assert isinstance(job, planning.Job), job
    return job
