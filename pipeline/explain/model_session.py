"""A session is what all inputs of one call share: the classifier, its traced functions, and the options."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import (
    SCORECAM_CHANNELS,
    BatchExplanation,
    compute_batches,
    fuse_class_mappers,
    fuse_explainers,
    make_class_mapper,
    make_explainer,
    make_feature_extractor,
    scorecam_pass_counter,
)
from pipeline.errors import CommandError
from pipeline.explain.job_planning import Job
from pipeline.models import Classifier, find_target_class, frame_geometry, normalize_pixels
from pipeline.options import Options
from pipeline.records import ClassGroup, Colour, Geometry, Outcome, TargetScore
from pipeline.rendering import Canvas, Explanation, FrameRenderer, arrange_panels, measure_longest_name
from pipeline.results import Explanations, top_predictions


@dataclass(frozen=True, kw_only=True)
class Session:
    """What all inputs of one call share: the classifier, its traced function, what is explained (None: the top prediction), and options.

    `map_of` makes the map of any class from what `explain` has kept of a picture. `network_lock` is held while the network works for one
    video, so that another can be opened or finished meanwhile.
    """

    classifier: Classifier
    explain: Callable[[Any], BatchExplanation]
    map_of: Callable[[Any, Sequence[Any], int], Any]
    targets: Sequence[ClassGroup] | None
    options: Options
    network_lock: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def geometry(self, width: int, height: int) -> Geometry:
        """How a frame of that size is fitted to the network."""
        return fit_frame(self.classifier, self.options, width, height)

    def explain_batch(self, pixels: Array) -> list[Explanation]:
        """What the network says of each picture of a batch, uint8 (batch, height, width, 3). A batch too large for memory is halved."""
        explained = tf.nest.map_structure(lambda tensor: tensor.numpy(), explain_within_memory(self.explain, pixels))
        features = zip(*explained.features, strict=True) if explained.features else itertools.repeat((), len(pixels))
        return [Explanation(*row) for row in zip(*explained[:4], features, np.asarray(pixels), strict=True)]

    def kept_bytes(self, geometry: Geometry) -> int:
        """About how much is kept of a frame for the maps of other classes; more where `--layer` names one far from the pooling."""
        if not self.options.holds_title:
            return 0
        cells = geometry.width_px * geometry.height_px // self.classifier.stride**2
        return sum(4 * cells * (net.cam_tensor.shape[3] or 0) for net in self.classifier.networks)

    def requested_scores(self, explanation: Explanation) -> Array | None:
        """The scores of the classes that were asked for, float (targets,); None where none were."""
        return explanation.target_scores if self.targets else None

    def explain_batches(self, batches: Iterable[Array]) -> Generator[list[Explanation]]:
        """What `explain_batch` gives of each batch, in order; some of them are computed at once."""
        return compute_batches(self.explain_batch, batches)

    def make_canvas(self, size: tuple[int, int], colour: Colour) -> Canvas:
        """The layout for panels of that size (width, height) in pixels, with room for the longest label."""
        named = [name.label for name in self.classifier.classes] + [group.label for group in self.targets or ()]
        longest = measure_longest_name(tuple(named))
        place, panels = self.options.label, len(self.targets or [0])
        return arrange_panels(self.options.layout, *size, explanations=panels, colour=colour, label=place, longest_name=longest)

    def make_renderer(self, geometry: Geometry, canvas: Canvas) -> FrameRenderer:
        """A renderer for frames that are fitted to the network by `geometry`."""
        return FrameRenderer(
            self.options,
            self.classifier.classes,
            geometry,
            canvas,
            targets=self.targets,
            map_of=lambda seen, target: np.asarray(self.map_of(seen.pixels, seen.features, target)),
        )


def fit_frame(classifier: Classifier, options: Options, width: int, height: int) -> Geometry:
    """How a frame of that size is fitted to a network; where --short-side asks for another size, in whole strides."""
    short = options.short_side_px or classifier.short_side_px
    sides: Sequence[int] = classifier.input_px
    if short != classifier.short_side_px:
        sides = [_round_to(side * short / classifier.short_side_px, classifier.stride) for side in sides]
    return frame_geometry(
        width,
        height,
        fit=options.fit,
        input_px=(sides[0], sides[1]),
        short_side_px=short,
        stride=classifier.stride,
        any_size=classifier.any_size,
    )


def _round_to(length: float, stride: int) -> int:
    return max(1, round(length / stride)) * stride


def open_session(classifier: Classifier, options: Options) -> Session:
    """Prepare the explanations that the options ask for.

    Raises CommandError when a target is no class of the model, or a size is asked for that it does not take.
    """
    targets = [find_target_class(wanted, classifier.classes) for wanted in options.targets] or None
    if options.short_side_px and not classifier.any_size:
        size = "x".join(map(str, classifier.input_px))
        raise CommandError(f"--short-side {options.short_side_px}: {classifier.name} takes pictures of {size} pixels and no others")
    scale = make_normalizer(classifier)
    more: dict[str, Any] = {"method": options.method, "preprocess": scale}
    members = [group.members for group in targets] if targets else None
    explainers = [make_explainer(net, targets=members, keep_features=options.holds_title, **more) for net in classifier.networks]
    explain = explainers[0] if len(explainers) == 1 else fuse_explainers(explainers)
    map_of = fuse_class_mappers([make_class_mapper(net, **more) for net in classifier.networks])
    cv2.setNumThreads(1)  # blending is memory-bound; its threads would only take the network's and the encoder's time
    return Session(classifier=classifier, explain=explain, map_of=map_of, targets=targets, options=options)


def count_scorecam_passes(session: Session) -> tuple[int, Callable[[], int]] | None:
    """For Score-CAM, how many passes of the network a picture takes, and a function that says how many are done; None for other methods."""
    if session.options.method != "scorecam":
        return None
    groups = sum(-(-int(net.cam_tensor.shape[-1] or 0) // SCORECAM_CHANNELS) for net in session.classifier.networks)
    return groups * SCORECAM_CHANNELS, lambda: int(scorecam_pass_counter().numpy())


def make_describer(classifier: Classifier) -> Callable[[Array], tuple[Array, Array]]:
    """From pictures uint8 (batch, height, width, 3) to scores as `predict` gives them, float32 (batch, classes), and pooled features
    float32 (batch, channels)."""
    describe = make_feature_extractor(classifier.networks[0], preprocess=make_normalizer(classifier))

    def describe_batch(pixels: Array) -> tuple[Array, Array]:
        scores, features = describe(pixels)
        return scores.numpy(), features.numpy()

    return describe_batch


def make_normalizer(classifier: Classifier) -> Callable[[Any], Any]:
    """The scaling of pixels that the classifier was trained with."""
    return functools.partial(normalize_pixels, mode=classifier.pixels)


def explain_within_memory(explain: Callable[[Any], BatchExplanation], pixels: Array) -> BatchExplanation:
    """Explain a batch; where memory runs out, its halves, down to single pictures.

    Raises tf.errors.ResourceExhaustedError where it does not suffice for one.
    """
    try:
        return explain(pixels)
    except tf.errors.ResourceExhaustedError:
        if len(pixels) == 1:
            raise
    middle = len(pixels) // 2
    parts = [explain_within_memory(explain, part) for part in (pixels[:middle], pixels[middle:])]
    joined: BatchExplanation = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)
    return joined


def make_outcome(
    job: Job, session: Session, track: Explanations, started: float, *, duration_seconds: float | None, warnings: Sequence[str]
) -> Outcome:
    """The outcome of an input that is done; `started` is time.perf_counter() of its begin."""
    asked = zip(session.targets or (), track.mean_asked(), strict=False)
    return Outcome(
        input=job.input,
        output=job.output,
        model=session.classifier.name,
        method=session.options.method,
        frames=track.frames,
        duration_seconds=duration_seconds,
        elapsed_seconds=time.perf_counter() - started,
        top=top_predictions(track.mean_scores(), session.classifier.classes, session.options.top_k),
        targets=[TargetScore(name=group, score=float(score)) for group, score in asked],
        warnings=(*session.classifier.warnings, *warnings),
    )
