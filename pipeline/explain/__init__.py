"""The jobs `image`, `video`, `predict` and `demo`, from a path to a finished file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
