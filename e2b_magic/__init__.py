"""E2B sandboxes in Jupyter."""

__version__ = "0.1.0.dev0"
