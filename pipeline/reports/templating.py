"""What all pages share: templates, embedded pictures and data, and the Content-Security-Policy.

A page is one HTML file. It carries its style, its script and its data, asks no address for anything but the pictures and the video
beside it, and says so to the browser (a Content-Security-Policy that allows its own style and script by their hashes). Whatever comes
from files, such as names and labels, is text: escaped in markup, and in data without a "<".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from pipeline.files import atomic_write
from pipeline.records import printable
from pipeline.reports import timeline
from pipeline.reports.timeline import chart_note


def picture_address(picture: str | bytes | None) -> str | None:
    """For `src`: a JPEG's bytes as a data URL, a path relative to the page as a URL; None where there is no picture."""
    return embed_picture(picture) if isinstance(picture, bytes) else None if picture is None else quote_path(picture)


class LabelNumbers:
    """Numbers for labels, in the order in which they come: an archive names each of them thousands of times."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, label: str) -> int:
        """The number of a label, a new one where it was not asked for before."""
        return self._numbers.setdefault(printable(label), len(self._numbers))

    @property
    def texts(self) -> list[str]:
        """The labels by their number, as they are shown."""
        return list(self._numbers)


@functools.cache
def load_templates() -> jinja2.Environment:
    """Jinja with the templates of `templates/`; it escapes whatever is filled in, and an unknown name is an error."""
    loader = jinja2.PackageLoader("pipeline.reports", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": printable, "percent": _percent, "clock": timeline.tick_text}
    return environment


def write_page(path: Path, kind: str, *, overwrite: bool, **content: Any) -> None:
    """Fill the template `kind`.html.j2 with `content`, and write it with its style and script.

    Raises OutputError as `atomic_write` does.
    """
    style, script = _read_asset("page.css"), _read_asset("page.js") + _read_asset(f"{kind}.js")
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data: 'self' file:",
            "media-src 'self' file:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = load_templates().get_template(f"{kind}.html.j2")
    html = template.render(
        policy=policy,
        style=Markup(style),  # our own files
        script=Markup(script),
        layout=timeline,
        chart_note=chart_note,
        **content,
    )
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _read_asset(name: str) -> str:
    return files("pipeline.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def embed_data(content: Any) -> Markup:
    """JSON for a script element: only ASCII, and nothing in it that could end the element or begin a comment."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def quote_path(relative: str) -> str:
    """A path relative to the page as a URL; bytes that are no UTF-8 are surrogates in a str, and themselves in a URL."""
    return quote(os.fsencode(relative), safe="/")


def embed_picture(picture: bytes, kind: str = "jpeg") -> str:
    """A data URL of a JPEG, or of a picture of another `kind`."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"
