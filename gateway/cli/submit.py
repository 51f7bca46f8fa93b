"""`gateway submit`: many requests through the gateway, a result line for each, resumable.

Each line goes as a detached call under an Idempotency-Key that is the same at every run. So
whatever was interrupted - this command, the gateway, the connection - the next run meets the same
calls again, and nothing is sent twice.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import aiohttp
import click
from multidict import CIMultiDict
from pydantic_core import from_json

from gateway.cli.batch import Batch, Line, Result, Results, idempotency_key, open_results
from gateway.cli.client import Gateway, Lost, Where, open_gateway, reaching
from gateway.cli.exits import FAILED, PARTLY, UNAUTHORISED, UNREACHABLE, USAGE, CommandError, run
from gateway.cli.progress import open_progress

POLL_S = 60.0  # how long the gateway may keep one question for an answer
AGAIN_S = 0.5  # between looks for a gateway that went away
#: A busy gateway tells a crowd when to come back; here the room comes from lines of the same job.
LONGEST_PAUSE_S = 2.0

#: OpenAI's names for requests that were never executed.
NOT_EXECUTED = {
    "cancelled": "batch_cancelled",
    "queue_timeout": "batch_expired",
    "deadline_exceeded": "batch_expired",
}
_CODE = re.compile(r'^gateway;.*details="([a-z_]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the command line asked for."""

    batch: Batch
    results: Results
    identity: str  #: the same whenever the same job is run
    headers: CIMultiDict[str]
    concurrency: int
    patience_s: float

    @property
    def pending(self) -> list[Line]:
        """The requests without a result."""
        return [line for line in self.batch.lines if line.custom_id not in self.results.done]

    def counts(self) -> tuple[int, int]:
        """How many requests have a result, and how many of these a bad one."""
        return len(self.results.done), len(self.results.failed)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Where the results go; those it has already are not asked for again.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many requests the gateway is given at once.",
)
@click.option(
    "--header",
    "-H",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="Send this with each request, such as x-gateway-upstream:openai.",
)
@click.option("--name", default="", help="Tells jobs apart that use the same two files.")
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="How many seconds to wait for a gateway that went away.",
)
@reaching
def submit(
    *,
    where: Where,
    file: Path,
    out: Path,
    concurrency: int,
    headers: tuple[str, ...],
    name: str,
    patience_s: float,
) -> None:
    """Send the requests in FILE (OpenAI batch lines), write a result line for each.

    Run again, it goes on where it stopped, and no request is sent twice. To send one anew that
    failed, remove its line from the results.
    """
    batch = Batch(file)
    identity = "\n".join((str(file.resolve()), str(out.resolve()), name))
    with open_results(out, batch) as results:
        job = Job(
            batch=batch,
            results=results,
            identity=identity,
            headers=_headers(headers, identity),
            concurrency=concurrency,
            patience_s=patience_s,
        )
        try:
            with open_progress(len(batch.lines)) as told:
                run(_Submission(job, lambda: told(*job.counts())).run(where))
        finally:
            _summarise(job, out)
        done, failed = job.counts()
        if failed:
            raise click.exceptions.Exit(PARTLY if failed < done else FAILED)


class _Submission:
    """One run of a job."""

    def __init__(self, job: Job, told: Callable[[], None]) -> None:
        self._job = job
        self._told = told
        self._heard_at: float | None = None  # when the gateway last answered, on the loop's clock

    async def run(self, where: Where) -> None:
        """Send what has no result yet; wait a while for a gateway that goes away meanwhile.

        Raises: CommandError; GatewayError, of the config
        """
        self._told()
        while pending := self._job.pending:
            try:
                async with open_gateway(where) as gateway:
                    await self._send(gateway, pending)
            except CommandError as error:
                if error.exit_code != UNREACHABLE or not self._is_patient():
                    raise
                await asyncio.sleep(AGAIN_S)

    def _is_patient(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._heard_at is not None and now < self._heard_at + self._job.patience_s

    async def _send(self, gateway: Gateway, pending: Sequence[Line]) -> None:
        """Send all of *pending*, so many at once; the first that cannot go on ends all."""
        waiting = iter(pending)
        failures: list[CommandError] = []

        async def work() -> None:
            for line in waiting:
                await self._job.results.add(await self._result(gateway, line))
                self._told()

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._job.concurrency, len(pending))):
                    tasks.create_task(work())
        except* CommandError as errors:
            failures += [error for error in errors.exceptions if isinstance(error, CommandError)]
        if failures:
            raise failures[0]

    async def _result(self, gateway: Gateway, line: Line) -> Result:
        """Make the call of *line*, or meet it again, and wait for its answer."""
        path, body = self._job.batch.request(line)
        headers = self._job.headers.copy()
        headers["Idempotency-Key"] = idempotency_key(self._job.identity, line.custom_id, path, body)
        while True:
            async with gateway.ask("POST", path, body=body, headers=headers) as response:
                self._heard()
                call_id = response.headers.get("x-gateway-call-id")
                pause_s = None if call_id else _asked_to_wait(response)
                if call_id is None and pause_s is None:
                    return await self._refusal(gateway, response, line)
            if call_id is not None:
                return await self._answer(gateway, call_id, line)
            await asyncio.sleep(pause_s or 0.0)

    async def _answer(self, gateway: Gateway, call_id: str, line: Line) -> Result:
        """The answer of the call, once there is one."""
        path = f"/-/calls/{call_id}/response?wait={POLL_S:g}"
        while True:
            try:
                async with gateway.ask("GET", path, wait_s=POLL_S) as response:
                    self._heard()
                    if "x-gateway-pending" in response.headers:
                        continue
                    if "x-gateway-attempts" not in response.headers:
                        return _not_executed(line, call_id, await _problem(gateway, response))
                    return Result(
                        line.custom_id,
                        call_id=call_id,
                        status=response.status,
                        request_id=response.headers.get("x-request-id", call_id),
                        body=await response.read(),
                    )
            except Lost:
                call = await gateway.call(call_id)
                error = call["error"]
                if isinstance(error, dict):  # the answer itself broke off, not the way to it
                    return _not_executed(line, call_id, (str(error["code"]), str(error["message"])))

    async def _refusal(
        self, gateway: Gateway, response: aiohttp.ClientResponse, line: Line
    ) -> Result:
        """What the gateway says of a request that it makes no call of.

        Raises: CommandError, where it would say so of all of them
        """
        found = _CODE.match(response.headers.get("Proxy-Status", ""))
        if found is None:
            raise await gateway.refusal(response)
        message = _message(await response.read())
        if response.status in (401, 403):
            raise CommandError(message, UNAUTHORISED)
        if response.status == 421:
            raise CommandError(message)
        return Result(line.custom_id, code=found[1], message=message)

    def _heard(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()


def _asked_to_wait(response: aiohttp.ClientResponse) -> float | None:
    """The pause that a busy gateway asks for, in seconds; None where waiting would not help."""
    if response.status not in (429, 503) or "Proxy-Status" not in response.headers:
        return None
    try:
        return min(LONGEST_PAUSE_S, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return 1.0


async def _problem(gateway: Gateway, response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Code and words of the gateway's own error. Raises: CommandError, where it is none."""
    if response.content_type != "application/problem+json" or response.status in (401, 403):
        raise await gateway.refusal(response)
    problem = from_json(await response.read())
    return problem["code"], problem["detail"]


def _not_executed(line: Line, call_id: str, error: tuple[str, str]) -> Result:
    code, message = error
    return Result(
        line.custom_id, call_id=call_id, code=NOT_EXECUTED.get(code, code), message=message
    )


def _message(body: bytes) -> str:
    """The words of an error in whatever dialect."""
    try:
        return str(from_json(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:500]


def _headers(given: Sequence[str], identity: str) -> CIMultiDict[str]:
    """What each request carries.

    The lines of a job are one flow: they share the slots with all others like a single client.
    """
    flow = sha256(identity.encode()).hexdigest()[:16]
    headers = CIMultiDict({"x-gateway-fairness-key": f"submit-{flow}"})
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or "\n" in text:
            raise CommandError(f"--header {text!r} is not NAME:VALUE", USAGE)
        headers[name.strip()] = value.strip()
    headers["Accept-Encoding"] = (
        "identity"  # the results are read by people and programs as they are
    )
    headers["Prefer"] = "respond-async"
    return headers


def _summarise(job: Job, out: Path) -> None:
    """Say on stderr how far it came."""
    done, failed = job.counts()
    total = len(job.batch.lines)
    click.echo(
        f"{done} of {total} requests have a result in {out}, {failed} of them failed", err=True
    )
    if done < total:
        click.echo("run the same command again to go on", err=True)
