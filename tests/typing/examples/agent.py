"""An agent that plans with a model, asks a person, then acts. After a crash nothing is thought, or paid, again."""

from datetime import timedelta
from typing import Literal

from orchestrator import Failure, Message, Retry, Saga, saga


class AgentTask(Message):
    name: str
    goal: str


class AgentStatus(Message):
    state: Literal["working", "pending_approval", "done", "denied"]
    plan: str | None = None


class Approval(Message):
    response: Literal["approve", "deny"]
    by: str


class Denied(Failure):
    by: str


async def think(goal: str) -> str:
    return f"a plan for {goal}"  # where the model is asked


async def act(plan: str) -> str:
    return f"did {plan}"  # where the tools are used


@saga(name="agent")
async def agent(s: Saga, task: AgentTask) -> str:
    s.set("status", AgentStatus(state="working"))
    plan = await s.step(think, task.goal, retry=Retry(max_attempts=3), timeout=120)

    s.set("status", AgentStatus(state="pending_approval", plan=plan))
    approval = await s.receive(Approval, timeout=timedelta(hours=1))  # without an answer the agent ends, as TimedOut
    if approval.response == "deny":
        s.set("status", AgentStatus(state="denied"))
        raise Denied(by=approval.by)

    s.set("status", AgentStatus(state="working", plan=plan))
    result = await s.step(act, plan)
    s.set("status", AgentStatus(state="done"))
    return result
