"""Names from outside, as the code may trust them."""

import unicodedata
from collections.abc import Iterable

_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, half surrogates, line separators


def plain(name: object) -> str:
    """A name in one form: Unicode's composed one, one line, a single space where there is space."""
    text = unicodedata.normalize("NFC", str(name))
    kept = (" " if unicodedata.category(c) in _NO_TEXT else c for c in text)
    return " ".join("".join(kept).split())


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names in a message: a handful of them, and how many more there are."""
    told = list(map(str, names))
    more = len(told) - most
    return ", ".join(told[:most]) + (f" and {more} more" if more > 0 else "")


def names_a_folder(name: str) -> bool:
    """Whether a name can be a folder's on any machine, with some letters after it."""
    fits = 0 < len(name.encode("utf-8", "replace")) <= 100 and not name.startswith(".")
    return fits and name == plain(name) and not set(name) & set('/\\:*?"<>|')


def percent(share: float) -> str:
    """A share of 0 to 1 in percent: 90%, 83.3%, 99.9%."""
    return f"{100 * share:.3g}%"
