"""A small application."""


def greeting(name: str) -> str:
    """Gives a greeting."""
    return f"Hello, {name}!"
