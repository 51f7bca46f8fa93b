"""What the writer tells the indexer to look at."""

from gateway.journal.search.unsearched import OPEN_S, Unsearched

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
