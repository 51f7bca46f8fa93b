"""Records mirror the schema."""

from dataclasses import fields

import pytest

from gateway.journal.records import AttemptRow, CallRow, DeliveryRow, RequestRow
from tests.recorded_calls import RecordedCalls

# What only relaying needs of a call.
NOT_SHOWN = {
    "room",
    "target",
    "fingerprint",
    "retry_count",
    "queue_timeout_s",
}


@pytest.mark.parametrize(
    ("table", "row", "left_out"),
    [
        ("calls", CallRow, NOT_SHOWN),
        ("requests", RequestRow, set()),
        ("attempts", AttemptRow, set()),
        ("deliveries", DeliveryRow, set()),
    ],
)
def test_a_row_has_every_column_of_its_table(
    recorded: RecordedCalls, table: str, row: type, left_out: set[str]
) -> None:
    columns = recorded.connection.execute(f"PRAGMA table_info({table})").fetchall()

    assert [column[1] for column in columns if column[1] not in left_out] == [
        field.name for field in fields(row)
    ]
