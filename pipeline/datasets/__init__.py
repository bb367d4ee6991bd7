"""Labelled pictures: class folders, near-duplicates, pixels kept ready for a network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
