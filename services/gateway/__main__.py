"""Run the gateway: `python -m services.gateway --book FILE [--port N] [--port-file FILE]`."""

import argparse
import asyncio
import os
import socket
from pathlib import Path

import uvicorn

from services.gateway.book import Book
from services.gateway.hang_up import HangUpProtocol
from services.gateway.web import Gateway
from services.gateway.webhooks import Endpoint, Webhooks

HOST = "127.0.0.1"


def server(gateway: Gateway) -> uvicorn.Server:
    """The HTTP server of a gateway; `serve(sockets=[...])` runs it."""
    config = uvicorn.Config(
        gateway.application(), http=HangUpProtocol, lifespan="off", log_level="warning", timeout_keep_alive=30
    )
    return uvicorn.Server(config)


async def run(gateway: Gateway, listener: socket.socket, endpoint: Endpoint | None) -> None:
    """Serve until SIGTERM; what is owed to the endpoint is sent beside that."""
    if endpoint is None:
        await server(gateway).serve(sockets=[listener])
        return
    webhooks = Webhooks(gateway.payments, endpoint, lambda: gateway.desk.phase)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(webhooks.run())
        await server(gateway).serve(sockets=[listener])
        sending.cancel()


def main() -> None:
    """Listen on the loopback interface and write the port where the others look for it."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway", description=__doc__)
    parser.add_argument("--book", type=Path, required=True, help="the SQLite file of all charges")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="gets the port once the gateway listens")
    parser.add_argument("--webhook-url", help="tells there what became of each payment; needs WEBHOOK_SECRET")
    arguments = parser.parse_args()
    endpoint = Endpoint(arguments.webhook_url, os.environ["WEBHOOK_SECRET"]) if arguments.webhook_url else None
    book = Book(arguments.book)
    with socket.create_server((HOST, arguments.port)) as listener:
        if arguments.port_file:
            arguments.port_file.write_text(str(listener.getsockname()[1]))
        asyncio.run(run(Gateway(book), listener, endpoint))
    book.close()


if __name__ == "__main__":
    main()
