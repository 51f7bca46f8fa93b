"""Which request is the same call as another one."""

import asyncio
from types import SimpleNamespace

from gateway.call import Options
from gateway.relay.twins import Twins
from tests.running_journal import make_call


class SlowReader:
    """A journal whose answer is older than the moment in which it comes."""

    def __init__(self):
        self.lookups = []
        self.final = None

    async def keyed(self, client, key):
        found = self.final
        answered = asyncio.get_running_loop().create_future()
        self.lookups.append(answered)
        await answered
        return found


def keyed_call(seq):
    return make_call(seq, options=Options(idempotency_key="k"), fingerprint="f")


async def test_a_call_that_begins_and_ends_during_a_lookup_is_not_made_again():
    """The second request reads the journal only when what the first one did is known."""
    reader = SlowReader()
    twins = Twins(reader)
    first, second = keyed_call(1), keyed_call(2)

    async def carry(call):
        found = await twins.find(call)
        if found is None:
            live = SimpleNamespace(call=call, over=False)
            twins.opened(live)
            reader.final = SimpleNamespace(id=call.id, answered_with=200, fingerprint="f")
            twins.closed(live)
        return found

    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(carry(call)) for call in (first, second)]
        while not all(task.done() for task in found):
            for lookup in reader.lookups:
                if not lookup.done():
                    lookup.set_result(None)
            await asyncio.sleep(0)

    assert [task.result() for task in found] == [None, first.id]
