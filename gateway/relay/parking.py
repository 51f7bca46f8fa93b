"""How a call waits in little memory: what the journal holds of it is dropped here until its turn.

Invariant: nothing is dropped that the journal does not have; credentials, which it never has, stay.
"""

from dataclasses import replace
from sys import intern

from gateway.call import PART_BYTES, Call


def is_parked(call: Call) -> bool:
    """Whether *call*, once it is in the journal, waits without its body in RAM."""
    return call.detached or call.request.body_bytes > PART_BYTES


def park(call: Call) -> None:
    """Let the journal alone hold the body, and the headers too unless only RAM has them whole.

    What many calls have in common they share: a hundred thousand may wait like this.
    """
    request = call.request
    headers, kind = (request.headers, None) if call.needs_secret else ((), request.content_type)
    path, kind = intern(request.path), kind and intern(kind)
    call.request = replace(request, body=None, headers=headers, path=path, kept_type=kind)
    call.target, call.model = intern(call.target), call.model and intern(call.model)
