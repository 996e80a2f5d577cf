"""Batches of events → requests of an HTTP API, each with the key by which the receiver knows one that comes again."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from include.contracts.connectors import Http, Numbered
from include.contracts.publishing import ToHttp
from include.ingestion.connectors.connections import connection
from include.ingestion.connectors.http import LONGEST_WAIT, MOST_SAID, PASSING, client, wanted_wait
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.events import Batch

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

log = logging.getLogger(__name__)

TAKEN = {200, 201, 202, 204}
IN_HAND = 409
"""The receiver has the same key in hand just now, of a try that was given up."""
MENDS = {
    401: "Look at the password of the connection {connection}",
    403: "Look at the password of the connection {connection}, and what it may write",
    404: "Look at the path in the spec and the host of the connection {connection}",
    405: "The path in the spec is nothing to post to",
    413: "Give the target a smaller batch in the spec",
    415: "The receiver does not take JSON",
    422: "The receiver does not take these events, or has had others with the same key",
}


class PassingError(TargetAwayError):
    """A request that another try, a little later, may bring. ``after``: seconds that the receiver asks to wait."""

    def __init__(self, message: str, after: float = 0) -> None:
        super().__init__(message)
        self.after = after


class HttpSender:
    """An API that is reached."""

    def __init__(self, target: ToHttp) -> None:
        self.target, login = target, connection(target.connection)
        self.secret = login.password or ""
        as_read = Http(
            target.connection, target.path, Numbered(), authorization=target.authorization, timeout=target.timeout
        )
        self.api = client(as_read, login)
        self.where = f"{target.path} of the connection {target.connection}"

    def close(self) -> None:
        self.api.close()

    def send(self, batch: Batch) -> None:
        """Post a batch, again while that may help. Raises TargetRefusedError, TargetAwayError."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        by_chance = wait_random_exponential(multiplier=self.target.backoff, max=LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            # Chance is added to what was asked for: many who were told the same must not come back together.
            return (error.after if isinstance(error, PassingError) else 0.0) + by_chance(state)

        def say(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning("%s; try %d in %.1f s", error, state.attempt_number + 1, state.upcoming_sleep)

        body = json.dumps(body_of(batch), allow_nan=False).encode()
        Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait,
            stop=stop_after_attempt(self.target.tries),
            before_sleep=say,
            reraise=True,
        )(lambda: self._post(batch, body))

    def _post(self, batch: Batch, body: bytes) -> None:
        import httpx

        where = f"{self.where}, {batch.day} batch {batch.number + 1} of {batch.of}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": batch.key}
        try:
            answer = self.api.post(self.target.path, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise PassingError(f"{where}: {type(error).__name__}: {error}") from None
        status = answer.status_code
        if status in TAKEN:
            return
        if status in PASSING or status >= 500 or status == IN_HAND:
            after = wanted_wait(answer.headers.get("Retry-After", ""))
            if after > self.target.patience:
                raise TargetAwayError(f"{where}: {status}, come back in {after:.0f} s: too long to wait now")
            raise PassingError(f"{where}: {status}", after)
        raise TargetRefusedError(f"{where}: {status} {answer.reason_phrase}{self._said(answer)}. {self._mends(status)}")

    def _said(self, answer: httpx.Response) -> str:
        """What the receiver says of it, without the token, which it may well repeat."""
        text = " ".join(answer.text.split())[:MOST_SAID]
        text = text.replace(self.secret, "***") if self.secret else text
        return f" ({text})" if text else ""

    def _mends(self, status: int) -> str:
        if 300 <= status < 400:
            return "A redirect is not followed, it would take the token along: name where it leads in the connection"
        found = MENDS.get(status, "Look at what the receiver wants")
        return found.format(connection=self.target.connection)


def body_of(batch: Batch) -> dict[str, Any]:
    """A batch as the receiver gets it."""
    return {
        "use_case": batch.use_case,
        "day": batch.day,
        "revision": batch.revision,
        "batch": batch.number,
        "batches": batch.of,
        "events": batch.events,
    }
