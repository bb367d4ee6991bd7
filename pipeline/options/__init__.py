"""What is asked: every option of the program in groups, said once with its name, help and default. Nothing heavy is imported for it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
