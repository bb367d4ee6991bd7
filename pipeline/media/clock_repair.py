"""Damaged clocks of videos: steps that no video means, and single times far ahead, are put right as the frames pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction

from pipeline.records import Frame

# A longer pause between two frames is a damaged clock: ffmpeg itself gives up at 30 hours, and MP4 holds 2^31 ticks of 1/denominator.
LONGEST_STEP_SECONDS = 24 * 3600
LONGEST_STEP_TICKS = (1 << 31) - 1
FAR_AHEAD_SECONDS = 1


class ClockRepair:
    """Puts a damaged clock right, and counts its `leaps`: steps that no video means and none can hold, and single times far ahead.

    Behind a time far ahead ffmpeg counts on by single ticks until the clock has caught up, which would show a thousand frames in an
    instant: they are spaced as usual instead.
    """

    def __init__(self, frame_rate: Fraction) -> None:
        self.leaps = 0
        self._usual_seconds = min(Fraction(1), 1 / frame_rate)
        self._closed = 0  # ticks that leaps have taken
        self._adrift = False

    def repair(self, frames: Generator[Frame]) -> Generator[Frame]:
        """The same frames at times that rise, as the source has them where these can be believed."""
        last: int | None = None
        made = 0
        with closing(frames):
            for frame, nudged in _mark_nudged(frames):
                made = frame.pts if last is None else max(made + 1, self._choose_pts(frame, frame.pts - last, made, nudged))
                last = frame.pts
                yield frame._replace(pts=made)

    def _choose_pts(self, frame: Frame, step: int, made: int, nudged: bool) -> int:
        usual = max(1, round(self._usual_seconds / frame.time_base))
        alone = nudged and step * frame.time_base > FAR_AHEAD_SECONDS
        too_long = step * frame.time_base.numerator > LONGEST_STEP_TICKS or step * frame.time_base > LONGEST_STEP_SECONDS
        self.leaps += alone or too_long
        self._adrift = alone or (self._adrift and step == 1)
        if too_long and not alone:
            self._closed += step - usual
        return made + usual if self._adrift else frame.pts - self._closed


def _mark_nudged(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, with whether the next two follow by a tick, as they do only where ffmpeg had to make their times."""
    waiting: deque[Frame] = deque()
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == 3:
            yield waiting[0], waiting[2].pts - waiting[0].pts == 2
            waiting.popleft()
    yield from ((frame, False) for frame in waiting)
