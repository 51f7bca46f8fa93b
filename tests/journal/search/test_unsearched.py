"""What the writer tells the indexer to look at."""

from gateway.journal.search.unsearched import MOST, OPEN_S, Unsearched

BATCH = 8


async def test_nothing_is_held_of_a_call_that_was_looked_at():
    hints = Unsearched()
    for seq in range(1, 101):
        hints.accepted(seq)
        hints.ended(seq)
    seen: list[int] = []
    while hints:
        ended, accepted = hints.take(0.0, BATCH, undue=False)
        seen += ended
        assert not accepted
        hints.done()

    assert seen == [*range(1, 101)]
    assert hints.looked_at == 100


async def test_an_open_call_is_looked_at_while_others_end_faster_than_can_be_looked_at():
    hints = Unsearched()
    hints.accepted(1)
    rounds = 0
    looked_at: list[int] = []
    while 1 not in looked_at:
        for _ in range(BATCH):
            hints.ended(1000 + rounds)
        _, accepted = hints.take(hints._loop.time() + OPEN_S, BATCH, undue=False)
        looked_at += accepted
        hints.done()
        rounds += 1

    assert rounds == 1


async def test_what_should_have_ended_and_has_not_yet_counts_as_not_looked_at():
    hints = Unsearched()
    for seq in (1, 2, 3):
        hints.accepted(seq)
        hints.ended(seq)
    hints.take(0.0, BATCH, undue=False)
    hints.again([2], 0.0)
    hints.done()

    assert hints.looked_at == 1
    assert hints.take(10.0, BATCH, undue=False) == ([2], [])
    hints.done()
    assert hints.looked_at == 3
    assert not hints


async def test_what_was_dropped_while_something_was_looked_at_does_not_count_as_looked_at():
    hints = Unsearched()
    for seq in range(1, MOST + 1):
        hints.accepted(seq)
    hints.ended(MOST)  # a quick one, while all before it are open
    hints.take(0.0, BATCH, undue=False)
    hints.accepted(MOST + 1)
    hints.accepted(MOST + 2)
    hints.done()

    assert hints.overflown
    assert hints.looked_at == 0
    assert not hints._busy


async def test_what_was_taken_in_vain_does_not_count_as_looked_at():
    hints = Unsearched()
    for seq in (1, 2, 3):
        hints.accepted(seq)
    hints.ended(3)
    hints.ended(1)
    hints.take(0.0, BATCH, undue=False)
    hints.given_up()

    assert hints.overflown  # so the file is looked through …
    assert hints.looked_at == 0  # … from there
    assert not hints._busy
