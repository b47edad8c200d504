"""What callers give that travels in a header."""

from __future__ import annotations


def check_header(name: str, text: str | None, *, is_secret: bool = False) -> None:
    """Go on if there is no text, or it is printable ASCII, as all the exchange takes in headers.

    Raises:
        ValueError: it is not; `name` says what it is, and a secret is not repeated.
    """
    if text is None or (text.isascii() and text.isprintable()):
        return
    shown = "what was given" if is_secret else repr(text)
    raise ValueError(f"{name}: {shown} is not in printable ASCII characters, on one line")
