"""An exchange cluster that cannot disagree with itself."""

__version__ = "0.1.0"
