"""Which posts a round takes."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.call import PART_BYTES
from gateway.journal.backlog import ROUND_BYTES, ROUND_POSTS, Backlog, Post, split_body


def backlog_of(*posts: Post) -> Backlog:
    backlog = Backlog()
    for post in posts:
        backlog.add(post)
    return backlog


def test_a_small_record_does_not_wait_for_a_large_body():
    bulk = [Post(1, "large", part_bytes=PART_BYTES, bulk=True) for _ in range(128)]
    backlog = backlog_of(*bulk, Post(1, "large"), Post(2, "small", part_bytes=1_000))

    taken = backlog.take_round()

    assert [post.call_id for post in taken] == ["large", "large", "large", "small"]


def test_a_round_is_bounded_in_bytes_and_posts():
    large = backlog_of(*(Post(seq, "", part_bytes=PART_BYTES) for seq in range(10)))
    many = backlog_of(*(Post(seq, "") for seq in range(ROUND_POSTS + 1)))

    assert sum(post.part_bytes for post in large.take_round()) == ROUND_BYTES
    assert len(many.take_round()) == ROUND_POSTS
    assert len(many.take_round()) == 1


@given(
    st.lists(
        st.builds(
            Post,
            seq=st.integers(1, 4),
            call_id=st.just(""),
            part_bytes=st.sampled_from([0, 0, 1, PART_BYTES // 2, PART_BYTES]),
            bulk=st.booleans(),
        )
    ),
    st.data(),
)
def test_the_posts_of_a_call_leave_in_their_order_whatever_fails(posts, data):
    backlog = backlog_of(*posts)
    left: list[Post] = []
    while taken := backlog.take_round():
        if data.draw(st.booleans(), label="fails"):
            backlog.put_back(taken)
            taken = backlog.take_round()
        backlog.written(taken)
        left += taken

    for seq in range(1, 5):
        assert [post for post in posts if post.seq == seq] == [p for p in left if p.seq == seq]
    assert backlog.part_bytes == 0


def test_removed_posts_count_no_longer():
    backlog = backlog_of(Post(1, "", part_bytes=5), Post(2, "", part_bytes=7))

    removed = backlog.remove(lambda post: post.seq == 1)

    assert (
        [post.seq for post in removed],
        [post.seq for post in backlog],
        backlog.part_bytes,
    ) == ([1], [2], 7)


def test_a_body_is_split_without_loss():
    body = bytes(range(256)) * 1024 * 2 + b"rest"

    parts = list(split_body(body))

    assert body == b"".join(parts[i].data for i in range(len(parts)))
    assert [part.start for part in parts] == [0, PART_BYTES, 2 * PART_BYTES]
    assert list(split_body(b"")) == []
