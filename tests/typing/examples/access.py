"""Access requests: approver after approver, a week each, then the manager; provisioning is taken back if it fails."""

from datetime import timedelta
from typing import Literal

import httpx
from orchestrator import Failure, Message, Retry, Saga, Transient, current_step, saga
from psycopg import AsyncConnection


class AccessRequest(Message):
    request_id: str
    user: str
    role: str


class Approver(Message):
    name: str
    manager: str | None = None


class Decision(Message):
    verdict: Literal["approved", "denied"]
    comment: str = ""


class AccessDenied(Failure):
    by: str
    comment: str


async def load_approvers(request: AccessRequest) -> list[Approver]:
    return [Approver(name="lead", manager="head"), Approver(name="security")]


async def assign_role(connection: AsyncConnection, user: str, role: str) -> None:
    await connection.execute("INSERT INTO user_roles VALUES (%s, %s)", (user, role))


async def revoke_role(connection: AsyncConnection, user: str, role: str) -> None:
    await connection.execute("DELETE FROM user_roles WHERE (name, role) = (%s, %s)", (user, role))


async def provision(user: str, role: str) -> str:
    async with httpx.AsyncClient() as http:
        answer = await http.put(
            f"https://directory.internal/{user}/{role}", headers={"Idempotency-Key": current_step().key}
        )
    if answer.status_code == 429:
        raise Transient(retry_after_s=float(answer.headers["Retry-After"]))
    return answer.raise_for_status().text


@saga(name="provisioning")
async def provisioning(s: Saga, request: AccessRequest) -> str:
    await s.transaction(assign_role, request.user, request.role, undo=revoke_role)
    return await s.step(provision, request.user, request.role, retry=Retry(max_attempts=3))


async def ask(s: Saga, approver: Approver) -> tuple[str, Decision]:
    """What they say; after a week without a word, what their manager says."""
    s.set("waiting for", approver.name)
    try:
        return approver.name, await s.receive(Decision, channel=approver.name, timeout=timedelta(days=7))
    except TimeoutError:
        if approver.manager is None:
            raise
        return await ask(s, Approver(name=approver.manager))


@saga(name="access")
async def access(s: Saga, request: AccessRequest) -> str:
    for approver in await s.step(load_approvers, request):
        by, decision = await ask(s, approver)
        s.set("decision", {"by": by, "at": s.now(), "verdict": decision.verdict})
        if decision.verdict == "denied":
            raise AccessDenied(by=by, comment=decision.comment)
    return await s.run(provisioning, request)
