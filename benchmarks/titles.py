"""How often a video's title changes, and how often it names what the network hardly sees, by how scores are smoothed and titles hold.

    python benchmarks/titles.py VIDEO...

Changes of title, then the share of frames in which the title has less than a third of the highest score, and in which it has less than 1 %
beside a class above 5 %.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import default_batch_size
from pipeline.explain import Session, open_session
from pipeline.media import NetworkResizer, probe, read_frames
from pipeline.models import load_classifier, use_device, zoo
from pipeline.options import ModelChoice, Options
from pipeline.rendering import SceneMean, SteadyTitle

# --smooth, TITLE_SECONDS, WEAK_PART
WAYS = ((0, 0, 0), (0.5, 0, 0), (0.7, 0, 0), (0.9, 0, 0), (0.7, 0.2, 0), (0.7, 0.2, 0.3), (0.7, 0.3, 0), (0.7, 0.4, 0))


def scores_of(path: Path, session: Session) -> Iterator[tuple[float, Array]]:
    """The time of each frame, and what the network says of it, float (classes,)."""
    source = probe(path)
    with read_frames(source) as frames:
        seen = NetworkResizer(source.colour, session.geometry(source.width_px, source.height_px), interlaced=source.interlaced)
        while batch := list(itertools.islice(frames, default_batch_size())):
            said = session.explain_batch(np.stack([seen(frame) for frame in batch]))
            yield from zip([frame.time_seconds for frame in batch], [each.scores for each in said], strict=True)


def judge(frames: list[tuple[float, Array]], smooth: float, seconds: float, part: float) -> tuple[int, float, float]:
    mean, title = SceneMean(smooth), SteadyTitle()
    title.TITLE_SECONDS, title.WEAK_PART = seconds, part  # type: ignore[misc]  # to try others
    shown, weak, hardly = [], 0, 0
    for time_seconds, scores in frames:
        means = mean.add(scores, time_seconds, cut=False)
        shown.append(title.add(means, time_seconds, cut=False) if seconds else int(means.argmax()))
        own, highest = means[shown[-1]], means.max()
        weak, hardly = weak + (own < highest / 3), hardly + (own < 0.01 and highest > 0.05)
    return sum(a != b for a, b in itertools.pairwise(shown)), weak / len(frames), hardly / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    use_device("auto")
    session = open_session(load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL)), Options(smooth=0))
    for path in parser.parse_args().videos:
        frames = list(scores_of(path, session))
        print(f"{path.name}, {len(frames)} frames")
        for smooth, seconds, part in WAYS:
            changes, weak, hardly = judge(frames, smooth, seconds, part)
            print(f"  --smooth {smooth}, held {seconds} s, weak below {part}: {changes} changes, {100 * weak:.1f} %, {100 * hardly:.1f} %")


if __name__ == "__main__":
    main()
