"""The job `train`: a classifier of one's own on top of a network of the zoo."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
