"""The message about a final call, and how its receiver knows that it is ours. Pure.

Source: Standard Webhooks 1.0
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import SecretStr
from pydantic_core import to_json
from standardwebhooks import Webhook

from gateway.journal.records import CallRecord
from gateway.journal.shapes import call_json, rfc3339


def message_id(call_id: str) -> str:
    """The same however often the message is sent; receivers tell repetitions by it."""
    return "msg_" + call_id.removeprefix("call_")


def message(record: CallRecord) -> bytes:
    """What is sent about a final call."""
    return to_json(
        {
            "type": f"call.{record.row.status}",
            "timestamp": rfc3339(record.row.finished_ms),
            "data": call_json(record, expand=False),
        }
    )


def signed_headers(
    call_id: str, body: bytes, *, secrets: Sequence[SecretStr], now: float
) -> dict[str, str]:
    """The fields of one try, with a signature for each of *secrets*; any one of them convinces.

    *now* is signed too: receivers refuse what is older than 5 minutes.
    """
    identifier, moment, text = (
        message_id(call_id),
        datetime.fromtimestamp(int(now), UTC),
        body.decode(),
    )
    signatures = [
        Webhook(secret.get_secret_value()).sign(identifier, moment, text) for secret in secrets
    ]
    return {
        "Content-Type": "application/json",
        "User-Agent": "gateway",
        "webhook-id": identifier,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }
