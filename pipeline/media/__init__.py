"""Media files to frames and back; alone knows ffmpeg, PyAV and Pillow's readers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
