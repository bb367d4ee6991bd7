"""An archive, unattended: a batch finds its pictures and videos, hands them to workers, and keeps what became of each."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
