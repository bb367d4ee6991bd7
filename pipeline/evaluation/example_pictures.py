"""The pictures that an analysis shows: which they are, each small, and beside it its heat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pipeline.cam import compute_batches
from pipeline.errors import InputError
from pipeline.evaluation.analysis_result import Analysis
from pipeline.explain import MAX_EMBEDDED, Session, make_thumbnails, read_and_render
from pipeline.files import atomic_write
from pipeline.media import images
from pipeline.records import Thumbnail
from pipeline.rendering import THUMBNAIL_PX, as_thumbnail

MAX_SHOWN = 60  # suspects and pairs on the page; the data beside it has all


class SmallPicture(NamedTuple):
    """A picture and its heat (None: not shown), each as JPEG, or as the name of a file beside the page."""

    original: str | bytes
    heat: str | bytes | None


def choose_pictures(analysis: Analysis) -> dict[int, bool]:
    """The pictures that the page shows, by number, each with whether its heat is shown too."""
    copies = analysis.copies[:MAX_SHOWN]
    shown = {number: False for copy in copies for number in (copy.first, copy.second) if isinstance(number, int)}
    shown |= {suspect.number: True for suspect in analysis.suspects[:MAX_SHOWN]}
    for each in analysis.examples.values():
        shown |= {int(analysis.judged[number]): True for number in (*each.right, *each.least, *each.wrong)}
    return dict(sorted(shown.items()))


def render_pictures(analysis: Analysis, shown: Mapping[int, bool], session: Session, tick: Callable[[], None]) -> dict[int, SmallPicture]:
    """Each picture small, and its heat as `visualize image` paints it but for the label, which the page has as text.

    As JPEG, or where they are many as names of files in the folder `pictures` of the output. Raises OutputError.
    """
    # The panel has twice the size of what is shown of it, whatever the picture's own.
    small = replace(session, options=replace(session.options, top_k=0, height_px=2 * THUMBNAIL_PX, layout="side-by-side"))
    folder = None if len(shown) <= MAX_EMBEDDED else analysis.plan.output / "pictures"
    overwrite = session.options.overwrite

    def render(number: int) -> tuple[int, Thumbnail, Thumbnail | None] | None:
        try:
            return number, *_render(analysis.scored.examples[number].path, small, heat=shown[number])
        except InputError:  # it was there a moment ago; the page has its name and its scores
            return None

    found: dict[int, SmallPicture] = {}
    for rendered in compute_batches(render, shown):
        if rendered is not None:
            number, original, heat = rendered
            found[number] = SmallPicture(
                _store(original, folder, f"{number:06d}.jpg", overwrite=overwrite),
                None if heat is None else _store(heat, folder, f"{number:06d}_heat.jpg", overwrite=overwrite),
            )
        tick()
    return found


def _render(path: Path, session: Session, *, heat: bool) -> tuple[Thumbnail, Thumbnail | None]:
    if heat:
        return make_thumbnails(read_and_render(path, session))
    image = images.read_image(path, max_megapixels=session.options.max_megapixels)
    return as_thumbnail(images.make_thumbnail(image, 2 * THUMBNAIL_PX), 0.0), None


def _store(thumbnail: Thumbnail, folder: Path | None, name: str, *, overwrite: bool) -> str | bytes:
    if folder is None:
        return thumbnail.jpeg
    with atomic_write(folder / name, overwrite=overwrite) as temporary:
        temporary.write_bytes(thumbnail.jpeg)
    return f"{folder.name}/{name}"
