"""A frame becomes a finished picture: sizes and encoder that follow from the source, heat that is steady over time, the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from pipeline import compositing, scenes
from pipeline.predictions import top_predictions
from pipeline.records import ClassName, Frame, Geometry, Options, Thumbnail

Array = np.ndarray[Any, Any]

THUMBNAIL_PX = 180


class Seen(NamedTuple):
    """What the network says of one frame: scores float32 (classes,), targets int (t,), maps float32 (t, h, w), and what it saw.

    `pixels` is the picture that went in, uint8 (height, width, 3).
    """

    scores: Array
    targets: Array
    maps: Array
    pixels: Array


def as_thumbnail(rgb: Array, time_seconds: float) -> Thumbnail:
    """A small picture, RGB uint8 (height, width, 3), as JPEG."""
    _, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return Thumbnail(time_seconds=time_seconds, jpeg=jpeg.tobytes(), width_px=rgb.shape[1], height_px=rgb.shape[0])


class Painter:
    """Paints frames of one size: the canvas, the colour tables, and what is remembered from frame to frame.

    That is the range that each panel's heat is scaled to, and with --smooth the mean of maps and scores over the scene.
    """

    def __init__(
        self, options: Options, classes: Sequence[ClassName], geometry: Geometry, canvas: compositing.Canvas, *, targets: int
    ) -> None:
        self._options, self._classes, self._region, self.canvas = options, classes, geometry.region, canvas
        self._look = compositing.make_look(options.colormap, options.alpha, canvas.colour)
        self._ranges = compositing.PanelRanges(targets, shared=options.shares_scale)
        self._means = {"maps": scenes.SceneMean(options.smooth), "scores": scenes.SceneMean(options.smooth)}
        self._finds_cuts = options.smooth > 0 or options.keeps_thumbnails
        self._seen: Seen | None = None
        self.cut = False  # whether a scene begins with what was seen last
        self._heats: list[Array] = []
        self._captions: list[compositing.Caption] = []
        self._painted: Array | None = None

    def paint(self, frame: Frame, seen: Seen, *, fresh: bool) -> Array:
        """The finished picture's planes, until the next is painted; `fresh` is False where `seen` is that of an earlier frame.

        All are painted in the same memory: six megabytes that are new to the process cost 0.4 ms of page faults a frame.
        """
        if fresh:
            self._prepare(*self.remember(seen, frame.time_seconds))
        given = self._heats, self._captions, self.canvas, self._look
        self._painted = compositing.compose(frame.planes, *given, into=self._painted)
        return self._painted

    def remember(self, seen: Seen, time_seconds: float) -> tuple[Array, Array, list[float]]:
        """Take in what the network sees at this time; returns the maps, scores and scales to be shown."""
        self.cut = self._finds_cuts and self._seen is not None and scenes.is_cut(self._seen.pixels, seen.pixels)
        maps = self._means["maps"].add(seen.maps, time_seconds, cut=self.cut)
        scores = self._means["scores"].add(seen.scores, time_seconds, cut=self.cut)
        scales = self._ranges.scales(maps.max(axis=(1, 2)), scores[seen.targets], time_seconds)
        self._seen = seen
        return maps, scores, scales

    def thumbnail(self, painted: Array, time_seconds: float, *, heat_alone: bool = False) -> Thumbnail:
        """Of a finished picture, or of its first panel with heat, THUMBNAIL_PX high at most."""
        height = min(THUMBNAIL_PX, self.canvas.cell_height if heat_alone else self.canvas.height)
        return as_thumbnail(compositing.shrunk(painted, self.canvas, height, heat_alone=heat_alone), time_seconds)

    def _prepare(self, maps: Array, scores: Array, scales: Sequence[float]) -> None:
        assert self._seen is not None, "something was seen before it is drawn"
        self._heats = [self._levels(m, scale) for m, scale in zip(maps, scales, strict=True)]
        targets = self._seen.targets
        if self._options.smooth and not self._options.targets:
            targets = np.argsort(-scores, kind="stable")[:1]  # the name that is steady, as the heat is
        self._captions = [self._caption(scores, int(t), cold=not m.any()) for t, m in zip(targets, maps, strict=True)]

    def _levels(self, raw: Array, scale: float) -> Array:
        size = self.canvas.panel_width, self.canvas.panel_height
        return compositing.heat_levels(raw / scale if scale > 0 else raw, *size, self._region)

    def _caption(self, scores: Array, target: int, *, cold: bool) -> compositing.Caption:
        top_k, asked = self._options.top_k, bool(self._options.targets)
        # One more than is shown, so that there are as many rows whether or not the class asked for is among them.
        top = [p for p in top_predictions(scores, self._classes, top_k + 1) if p.name.index != target]
        keep = top_k if asked else top_k - 1
        rows = [(self._classes[target].label, float(scores[target])), *((p.name.label, p.score) for p in top[: max(keep, 0)])]
        return compositing.Caption(rows=rows if top_k or asked else (), note="no heat: nothing here speaks for it" if cold else "")

    def state(self) -> dict[str, Array]:
        """All that is remembered, for `restore`."""
        if self._seen is None:
            return {}
        state = {f"seen_{name}": np.asarray(value) for name, value in self._seen._asdict().items()}
        state["ranges"] = self._ranges.state()
        for name, mean in self._means.items():
            state |= {f"mean_{name}_{key}": value for key, value in mean.state().items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> Seen | None:
        """Remember what `state` gave; returns what was seen last."""
        if "seen_maps" not in state:
            return None
        self._seen = Seen(*(state[f"seen_{name}"] for name in Seen._fields))
        for name, mean in self._means.items():
            mean.restore({key: state[f"mean_{name}_{key}"] for key in ("sum", "rest")})
        scales = self._ranges.restore(state["ranges"])
        self._prepare(self._means["maps"].mean(np.float32), self._means["scores"].mean(np.float32), scales)
        return self._seen
