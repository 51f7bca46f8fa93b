"""From text to the words that are indexed, and to the expressions that ask for them.

Scripts that set no blanks between words (Chinese, Japanese, Korean, Thai and their kin) are indexed
character by character, and asked for as phrases: what is typed is found wherever it stands. All
else is FTS5's: words as Unicode sees them, whatever their case and accents.

Invariant: nothing typed reaches FTS5 but within quotes of ours.
"""

import re

TOKENIZER = "unicode61 remove_diacritics 2"

_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff])"
)
# What unicode61 takes for part of a word: letters, numbers, private use.
_WORD = re.compile(r"[^\W_]|[\ue000-\uf8ff]")


def spaced(text: str) -> str:
    """*text* as it is indexed."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def has_words(text: str) -> bool:
    """Whether there is anything in *text* to be found by."""
    return _WORD.search(text) is not None


def phrase(text: str, *, prefix: bool = False) -> str:
    """The FTS5 expression for the words of *text* one after the other; *prefix*: the last one's begin."""
    quoted = spaced(text).strip().replace("\0", " ").replace('"', '""')
    return f'"{quoted}"*' if prefix else f'"{quoted}"'
