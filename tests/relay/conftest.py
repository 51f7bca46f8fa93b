"""What the event loops of these tests need."""

import asyncio

# pytest-asyncio asks for a current loop before it sets its own. Where none was ever set, Python
# 3.11 makes one for the asking, nobody closes it, and its ResourceWarning hits a later test.
asyncio.set_event_loop(None)
