"""Serve the floor: `python -m services.floor --port N`, on the loopback interface only, until SIGTERM."""

import argparse
import logging
import socket

import uvicorn

from services.floor.application import create_application
from services.floor.limits import CONNECTIONS_MAX, SHUTDOWN_S
from services.floor.world import read_world

HOST = "127.0.0.1"


def main() -> None:
    """Listen, and say where."""
    parser = argparse.ArgumentParser(prog="python -m services.floor", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request, and the floor asks all the time
    config = uvicorn.Config(
        create_application(read_world()),
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    with socket.create_server((HOST, arguments.port)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
