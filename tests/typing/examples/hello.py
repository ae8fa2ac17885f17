import asyncio

from orchestrator import App, Command, Participant, Saga, Transaction, saga

greeter = Participant("greeter")


class Greet(Command[str], service="greeter", undo=False):
    name: str


@greeter.handles(Greet)
async def greet(cmd: Greet, tx: Transaction) -> str:
    return f"Hello, {cmd.name}"


@saga
async def welcome(s: Saga, name: str) -> str:
    greeting = await s.call(Greet(name=name))
    await asyncio.sleep(2)  # kill -9 it here, and start it again
    return greeting + ", welcome back"


async def main() -> None:
    async with App(sagas=[welcome], participants=[greeter]).running() as client:
        print(await client.run(welcome, "Ada", id="welcome-ada"))


if __name__ == "__main__":
    asyncio.run(main())  # the local stack must be up
