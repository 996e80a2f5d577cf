"""Letters of any alphabet that has them as plain ones, for names that need no quotes."""

from __future__ import annotations

import unicodedata

# Letters that are no plain letter with a mark, so that Unicode does not take them apart.
_WHOLE = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ı": "i"}
)


def plain_letters(text: str) -> str:
    """``text`` in ASCII: letters without their marks; what is left of other alphabets and signs is nothing."""
    return unicodedata.normalize("NFKD", text.translate(_WHOLE)).encode("ascii", "ignore").decode()
