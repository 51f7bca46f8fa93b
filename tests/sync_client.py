"""Ask a hundred questions at once and collect the answers, from synchronous code."""

import json
import os
import sys
from urllib.request import Request, urlopen

GATEWAY = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")


def delay(prompt: str) -> str:
    """Hand the question over: it is on the gateway's disk when this returns the call's id."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    url = f"{GATEWAY}/v1/chat/completions"
    with urlopen(Request(url, json.dumps(body).encode(), headers)) as response:
        return response.headers["x-gateway-call-id"]


def get(call_id: str) -> str:
    """Wait for the answer; urllib.error.HTTPError says what went wrong where there is none."""
    while True:
        with urlopen(f"{GATEWAY}/-/calls/{call_id}/response?wait=60") as response:
            if "x-gateway-pending" not in response.headers:
                return json.load(response)["choices"][0]["message"]["content"]


if __name__ == "__main__":
    call_ids = [delay(prompt.strip()) for prompt in sys.stdin]
    for call_id in call_ids:
        print(get(call_id))
