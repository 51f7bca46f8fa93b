"""A copy of a body without its content coding: gzip and deflate; whatever else stays unread.

Nothing raises, whatever the bytes, and a bomb costs no more than the bound it was opened with.
"""

import zlib


class Decoder:
    """Undoes a `Content-Encoding`, piece by piece, up to *most_bytes* in all."""

    def __init__(self, content_encoding: str | None, *, most_bytes: int) -> None:
        self.failed = False  #: unknown coding, damage, or more than the bound: no more will come
        self._room = most_bytes
        self._inflate: zlib._Decompress | None = None
        coding = (content_encoding or "identity").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(wbits=47)  # takes the gzip and the zlib format
        elif coding != "identity":
            self.failed = True

    @property
    def is_plain(self) -> bool:
        """The bytes are what they stand for."""
        return self._inflate is None and not self.failed

    def feed(self, chunk: bytes) -> bytes:
        """What *chunk* adds."""
        if self.failed:
            return b""
        if self._inflate is not None:
            try:
                chunk = self._inflate.decompress(chunk, self._room + 1)
            except zlib.error:
                self.failed = True
                return b""
        room, self._room = self._room, self._room - len(chunk)
        self.failed = self._room < 0
        return chunk[:room] if self.failed else chunk
