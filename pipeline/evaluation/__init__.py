"""The job `analyze`: how often a classifier is right, where it errs, and what explains that."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
