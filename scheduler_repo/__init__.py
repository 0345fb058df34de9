"""The data-access engine under a scheduler of compute sessions, on PostgreSQL with Redis in front."""

import importlib.metadata

import lazy_loader

# Names are loaded when they are first used: a command that only prints its help need not wait for SQLAlchemy.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = importlib.metadata.version("scheduler-repo")
