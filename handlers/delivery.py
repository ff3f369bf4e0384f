"""Delivery: sends one message as a durable step of a job, and says what each of the provider's errors means for the job."""

from __future__ import annotations

from engine import Discard, Job, PauseQueue, RateLimited, Retry

from .whatsapp.provider import OutcomeUnknown, Provider, Rejected, Sent, Temporary, Throttled, TokenRevoked

UNKNOWN_AGAIN = 60.0
"""Seconds after which a send whose outcome is unknown is repeated: by then a provider knows its own answer for the same key."""

Meaning = dict[type[BaseException], Retry | type[Discard] | type[PauseQueue]]

TRANSACTIONAL: Meaning = {
    Temporary: Retry(),  # after the queue's backoff
    Rejected: Discard,
    TokenRevoked: PauseQueue,
    OutcomeUnknown: Retry(after=UNKNOWN_AGAIN),
}
"""For what somebody waits for: an answer, a reminder. Better asked twice than never sent."""

MARKETING: Meaning = {**TRANSACTIONAL, OutcomeUnknown: Discard}
"""For what nobody waits for: never at the risk of sending it twice. A person decides, from the dead-letter queue."""


async def deliver_text(job: Job, step: str, provider: Provider, to: str, text: str, organization_id: str) -> Sent:
    """Send free text once over all attempts of the job; a later attempt gets the first one's result.

    Raises:
        RateLimited: too fast; the job waits and keeps its attempt. With a limit of the whole number, its queue waits.
        ProviderError: the other ones, for the handler's policy.
    """
    try:
        sent: Sent = await job.step(step, _send_text, provider, to, text, organization_id, f"{job.id}:{step}")
    except Throttled as error:
        raise _waiting(error) from error
    return sent


async def deliver_template(
    job: Job, step: str, provider: Provider, to: str, template: str, organization_id: str, parameters: tuple[str, ...] = ()
) -> Sent:
    """Send a template once over all attempts of the job. Errors as `deliver_text`."""
    try:
        sent: Sent = await job.step(step, _send_template, provider, to, template, organization_id, f"{job.id}:{step}", parameters)
    except Throttled as error:
        raise _waiting(error) from error
    return sent


async def _send_text(provider: Provider, to: str, text: str, organization_id: str, key: str) -> Sent:
    return await provider.send_text(to, text, organization_id=organization_id, idempotency_key=key)


async def _send_template(
    provider: Provider, to: str, template: str, organization_id: str, key: str, parameters: tuple[str, ...]
) -> Sent:
    return await provider.send_template(to, template, organization_id=organization_id, idempotency_key=key, parameters=parameters)


def _waiting(error: Throttled) -> RateLimited:
    return RateLimited(after=error.retry_after, scope="queue" if error.scope == "number" else "job")
