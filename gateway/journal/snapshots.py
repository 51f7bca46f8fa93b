"""A call in RAM as the record that the journal holds of it, made without reading the file.

Invariant: `call_json` of such a record is what a list shows of the call, field for field;
`tests/web/test_events.py` compares the two. A list knows of an answer once its call is final, or
something else was written of the call meanwhile, so an open call's answer is left out here.
"""

from dataclasses import fields
from operator import itemgetter

from gateway.journal.records import CallRecord, CallRow, DeliveryRow
from gateway.journal.rows import CALL, STATE, Row

_ANSWER = frozenset({"answer", "http_status", "response_type", "response_bytes", "complete"})
_NOWHERE = len(CALL.names) + len(STATE.names)  # a value that no row of a call has
_PLACES = {
    **{name: at for at, name in enumerate(CALL.names)},
    **{name: at for at, name in enumerate(STATE.names, len(CALL.names))},
}
_COLUMNS = [field.name for field in fields(CallRow)]
_pick_final = itemgetter(*(_PLACES.get(name, _NOWHERE) for name in _COLUMNS))
_pick_open = itemgetter(
    *(_NOWHERE if name in _ANSWER else _PLACES.get(name, _NOWHERE) for name in _COLUMNS)
)


def record_of(accepted: Row, state: Row) -> CallRecord:
    """The record of a call of the row *accepted* (`rows.new_call`) when it stood as *state* says.

    *state* is `rows.state` of that moment.
    """
    values = (*accepted, *state, None)
    if values[_PLACES["finished_ms"]] is None:
        return CallRecord(row=CallRow(*_pick_open(values)))
    row = CallRow(*_pick_final(values))
    if row.webhook is None:
        return CallRecord(row=row)
    told = DeliveryRow(row.seq, "pending", 0, 0, row.finished_ms, None)
    return CallRecord(row=row, delivery=told)
