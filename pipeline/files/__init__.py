"""Files, whatever is in them: output paths, atomic writes, types by content, locks, fingerprints, and the processes that use them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
