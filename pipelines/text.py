"""Text that a file brings along, before it is shown to anyone."""

import re

MAX_CHARACTERS = 80
# Control characters, what turns text around or hides in it, and halves of characters.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
)


def cleaned(text: str) -> str | None:
    """One line of at most 80 characters, or None when nothing of it can be seen."""
    return UNSEEN.sub("", text[: 16 * MAX_CHARACTERS]).strip()[:MAX_CHARACTERS].strip() or None
