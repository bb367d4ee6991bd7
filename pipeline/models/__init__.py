"""A name or a file becomes a classifier, and its network can be cut at any layer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
