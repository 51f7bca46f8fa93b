"""What waits to be written: posts in their order, and how many of them one round takes.

Invariant: the posts of one call leave in the order in which they came. Posts of different calls
may overtake each other, so that a small record never waits for somebody's 32 MiB body.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gateway.call import PART_BYTES, Part
from gateway.journal.rows import Row
from gateway.journal.statistics.rollups import Tally

ROUND_POSTS = 1_000  # bounds a transaction of small records to some 10 ms
ROUND_BYTES = 4 * PART_BYTES  # of bodies; more would hold everybody's commit for too long
BULK_BYTES = (
    ROUND_BYTES - PART_BYTES
)  # what large bodies may take of it; the rest is for small ones


@dataclass(slots=True, eq=False)
class Post:
    """Rows of one call that are written together, at most `PART_BYTES` of body among them."""

    seq: int
    call_id: str
    future: asyncio.Future[bool] | None = None  #: told when it is durable
    accepted: tuple[Row, Row] | None = None  #: a new call: its row in `calls`, in `requests`
    changed: Row | None = None  #: where the call stands
    ended: tuple[Row, ...] = ()  #: attempts
    tally: Tally | None = None  #: what the call adds to statistics, where `changed` is final
    parts: list[Row] = field(default_factory=list)
    part_bytes: int = 0
    bulk: bool = False  #: part of a body that is too large for one post
    early: bool = False  #: request body of a call that a later post accepts
    late: bool = False  #: accepts a call whose body came in such posts

    @property
    def makes_call(self) -> bool:
        """Without it, the call does not exist."""
        return self.accepted is not None or self.early


class Backlog:
    """Posts that are not durable yet."""

    def __init__(self) -> None:
        self._posts: deque[Post] = deque()
        self.part_bytes = 0  #: of the posts here and of those taken and not yet written

    def __len__(self) -> int:
        return len(self._posts)

    def __iter__(self) -> Iterator[Post]:
        return iter(self._posts)

    def add(self, post: Post) -> None:
        """Put *post* last."""
        self._posts.append(post)
        self.part_bytes += post.part_bytes

    def take_round(self) -> list[Post]:
        """Take out what the next transaction writes; empty when nothing waits."""
        taken: list[Post] = []
        kept: list[Post] = []
        waiting: set[int] = set()  # calls of which a post was kept
        size = 0
        while self._posts and len(taken) < ROUND_POSTS:
            post = self._posts.popleft()
            limit = BULK_BYTES if post.bulk else ROUND_BYTES
            too_large = size and post.part_bytes and size + post.part_bytes > limit
            if too_large or post.seq in waiting:
                waiting.add(post.seq)
                kept.append(post)
            else:
                taken.append(post)
                size += post.part_bytes
        self._posts.extendleft(reversed(kept))
        return taken

    def put_back(self, posts: Iterable[Post]) -> None:
        """Put first again what was taken and could not be written."""
        self._posts.extendleft(reversed(list(posts)))

    def remove(self, unwanted: Callable[[Post], bool]) -> list[Post]:
        """Remove and return the posts that are *unwanted*."""
        removed = [post for post in self._posts if unwanted(post)]
        self._posts = deque(post for post in self._posts if not unwanted(post))
        self.written(removed)
        return removed

    def written(self, posts: Iterable[Post]) -> None:
        """Count the bytes of *posts* off: they are durable, or given up."""
        self.part_bytes -= sum(post.part_bytes for post in posts)


def split_body(body: bytes) -> Iterator[Part]:
    """A request body as parts; they share its memory."""
    if len(body) <= PART_BYTES:
        if body:
            yield Part(attempt=0, start=0, data=body)
        return
    view = memoryview(body)
    for start in range(0, len(body), PART_BYTES):
        # SQLite reads any buffer: a view saves copying 32 MiB on the event loop.
        yield Part(attempt=0, start=start, data=view[start : start + PART_BYTES])  # type: ignore[arg-type]
