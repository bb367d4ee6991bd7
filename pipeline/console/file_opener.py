"""Opens a file with the program that the desktop has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 5.0  # an opener that has not failed by then has opened


def open_file(path: Path) -> bool:
    """Whether something has taken the file. What it is goes on by itself; nothing of it is seen on this terminal."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.startfile(path)
            return True
        return False
    command = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if command is None:
        return _open_in_browser(path)
    try:
        quiet = subprocess.DEVNULL
        opener = subprocess.Popen([command, path.absolute()], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        return opener.wait(PATIENCE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False


def _open_in_browser(path: Path) -> bool:
    """Only where there is a desktop: elsewhere it would be a browser of text, which takes the terminal."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    with suppress(webbrowser.Error):
        return webbrowser.open(path.absolute().as_uri())
    return False
