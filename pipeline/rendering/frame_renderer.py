"""A frame and its explanation become a picture: the panels, with heat and a title that are steady over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.options import Options
from pipeline.records import ClassGroup, ClassName, Frame, Geometry, Thumbnail
from pipeline.rendering import compositing, heat_blending, label_box, scene_cuts, smoothing, steady_title
from pipeline.rendering.layouts import Canvas
from pipeline.results import top_predictions

THUMBNAIL_PX = 180


class Explanation(NamedTuple):
    """What the network says of one frame: scores float32 (classes,), targets int (t,), maps float32 (t, h, w) and the targets' scores
    float32 (t,), all as maps.Explanation has them, and what it saw.

    `pixels` is the picture that went in, uint8 (height, width, 3); `features` what maps of other classes are made of, float (h, w, k) for
    each layer, and nothing where none will be asked for.
    """

    scores: Array
    targets: Array
    maps: Array
    target_scores: Array
    features: tuple[Array, ...]
    pixels: Array


def as_thumbnail(rgb: Array, time_seconds: float) -> Thumbnail:
    """A small picture, RGB uint8 (height, width, 3), as JPEG."""
    _, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return Thumbnail(time_seconds=time_seconds, jpeg=jpeg.tobytes(), width_px=rgb.shape[1], height_px=rgb.shape[0])


class ShownTitle(NamedTuple):
    """What a frame shows: targets int (t,) with their scores float (t,), maps float32 (t, h, w) with the value of each that counts as full
    heat, and all scores float32 (classes,)."""

    targets: Array
    target_scores: Array
    maps: Array
    scales: Sequence[float]
    scores: Array


class FrameRenderer:
    """Draws the pictures of frames of one size, in order, and remembers from frame to frame what must be steady.

    It remembers the range that each panel's heat is scaled to; with --smooth also the mean of maps and scores over the scene, and the class
    that the title names. `targets` are what was asked for, None for the top prediction. `map_of` makes the map float32 (h, w) of any
    class, because the heat is that of the title's class.
    """

    def __init__(
        self,
        options: Options,
        classes: Sequence[ClassName],
        geometry: Geometry,
        canvas: Canvas,
        *,
        targets: Sequence[ClassGroup] | None,
        map_of: Callable[[Explanation, int], Array],
    ) -> None:
        self._options, self._classes, self._region, self.canvas = options, classes, geometry.region, canvas
        self._look = heat_blending.make_style(options.colormap, options.alpha, canvas.colour)
        self._ranges = smoothing.PanelRanges(len(targets or [0]), shared=options.shares_scale)
        self._targets = targets
        self._means = {name: smoothing.SceneMean(options.smooth) for name in ("maps", "scores", "target_scores")}
        self._title = steady_title.SteadyTitle() if options.holds_title else None
        self._map_of = map_of
        self._cuts = scene_cuts.CutFinder() if options.smooth > 0 or options.keeps_thumbnails else None
        self._seen: Explanation | None = None
        self.cut = False  # whether a scene begins with what was seen last
        self.shown: ShownTitle | None = None
        self._heats: list[Array] = []
        self._captions: list[label_box.Caption] = []
        self._painted: Array | None = None

    def paint(self, frame: Frame, seen: Explanation, *, fresh: bool) -> Array:
        """The finished picture: its three planes one behind the other, uint8 (pixels * 3 / 2,), of RGB (pixels * 3,).

        `fresh` is False where `seen` is the explanation of an earlier frame. All pictures are drawn in the same memory, so the next one
        replaces this one: six megabytes that are new to the process cost 0.4 ms of page faults a frame.
        """
        if fresh:
            self._prepare(self.remember(seen, frame.time_seconds))
        given = self._heats, self._captions, self.canvas, self._look
        self._painted = compositing.compose(frame.planes, *given, into=self._painted)
        return self._painted

    def remember(self, seen: Explanation, time_seconds: float) -> ShownTitle:
        """Take in what the network says at this time, in seconds; returns what is to be shown."""
        self.cut = self._cuts is not None and self._seen is not None and self._cuts.is_cut(self._seen.pixels, seen.pixels)
        scores = self._means["scores"].add(seen.scores, time_seconds, cut=self.cut)
        target_scores = self._means["target_scores"].add(seen.target_scores, time_seconds, cut=self.cut)
        targets, raw, anew = seen.targets, seen.maps, self.cut
        if self._title is not None:
            title = self._title.add(scores, time_seconds, cut=self.cut)
            # The mean was another class' until now; a map of no class goes on.
            anew = anew or (self._options.method != "eigencam" and self.shown is not None and title != self.shown.targets[0])
            raw = raw if title == targets[0] else self._map_of(seen, title)[None]
            targets, target_scores = np.array([title]), scores[[title]]
        maps = self._means["maps"].add(raw, time_seconds, cut=anew)
        if self.cut:
            self._ranges.reset()
        scales = self._ranges.scales(maps.max(axis=(1, 2)), target_scores, time_seconds)
        self._seen, self.shown = seen._replace(features=()), ShownTitle(targets, target_scores, maps, scales, scores)
        return self.shown

    @property
    def title(self) -> tuple[int, float] | None:
        """The class that the first panel names, of a group the best of it, with the score beside it; None before anything was seen."""
        return None if self.shown is None else (int(self.shown.targets[0]), float(self.shown.target_scores[0]))

    def thumbnail(self, painted: Array, time_seconds: float, *, heat_alone: bool = False) -> Thumbnail:
        """Of a finished picture, or of its first panel with heat, THUMBNAIL_PX high at most."""
        height = min(THUMBNAIL_PX, self.canvas.cell_height if heat_alone else self.canvas.height)
        return as_thumbnail(compositing.shrink_picture(painted, self.canvas, height, heat_alone=heat_alone), time_seconds)

    def _prepare(self, shown: ShownTitle) -> None:
        self._heats = [self._levels(m, scale) for m, scale in zip(shown.maps, shown.scales, strict=True)]
        groups: Sequence[ClassGroup | None] = self._targets or [None] * len(shown.maps)
        each = zip(groups, shown.targets, shown.target_scores, shown.maps, strict=True)
        self._captions = [self._caption(shown.scores, group, int(t), float(score), cold=not m.any()) for group, t, score, m in each]

    def _levels(self, raw: Array, scale: float) -> Array:
        size = self.canvas.panel_width, self.canvas.panel_height
        return heat_blending.heat_levels(raw / scale if scale > 0 else raw, *size, self._region)

    def _caption(self, scores: Array, asked: ClassGroup | None, target: int, score: float, *, cold: bool) -> label_box.Caption:
        """What was asked for, or the best, with its score, then the best classes: those of a kind too, which say what it is made of."""
        top_k, several = self._options.top_k, asked is not None and len(asked.members) > 1
        # One more than is shown, so that there are as many rows whether or not the class asked for is among them.
        top = [p for p in top_predictions(scores, self._classes, top_k + 1) if several or p.name.index != target]
        keep = top_k if asked else top_k - 1
        rows = [(asked.label if asked else self._classes[target].label, score), *((p.name.label, p.score) for p in top[: max(keep, 0)])]
        return label_box.Caption(rows=rows if top_k or asked else (), note="no heat: nothing here speaks for it" if cold else "")

    def state(self) -> dict[str, Array]:
        """All that is remembered, by name, for `restore`; empty before the first frame."""
        if self._seen is None:
            return {}
        state = {f"seen_{name}": np.asarray(getattr(self._seen, name)) for name in _KEPT}
        state["ranges"] = self._ranges.state()
        state["changes"] = np.zeros(0) if self._cuts is None else self._cuts.state()
        state["title"] = np.zeros(0) if self._title is None else self._title.state()
        for name, mean in self._means.items():
            state |= {f"mean_{name}_{key}": value for key, value in mean.state().items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> Explanation | None:
        """Remember what `state` gave; returns the last explanation, without its features, or None where there was none."""
        if "seen_maps" not in state:
            return None
        self._seen = Explanation(**{name: state[f"seen_{name}"] for name in _KEPT}, features=())
        for name, mean in self._means.items():
            mean.restore({key: state[f"mean_{name}_{key}"] for key in ("sum", "rest")})
        maps, scores, target_scores = (self._means[name].mean(np.float32) for name in ("maps", "scores", "target_scores"))
        targets = self._seen.targets
        if self._cuts is not None:
            self._cuts.restore(state["changes"])
        if self._title is not None:
            self._title.restore(state["title"])
            targets = state["title"][:1].astype(int)
            target_scores = scores[targets]
        self.shown = ShownTitle(targets, target_scores, maps, self._ranges.restore(state["ranges"]), scores)
        self._prepare(self.shown)
        return self._seen


_KEPT = [name for name in Explanation._fields if name != "features"]  # of the last explanation: features are for frames still to come
