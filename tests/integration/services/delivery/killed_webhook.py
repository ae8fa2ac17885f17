"""The webhook's program, but for this: it is killed when all is written down, before a byte of its answer has left."""

import os
import signal
import sys

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.delivery.webhook import HOST, application


def dying(app: ASGIApp) -> ASGIApp:
    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        async def last_words(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await app(scope, receive, last_words if scope["type"] == "http" else send)

    return around


if __name__ == "__main__":
    served = dying(application(os.environ["DATABASE_URL"], os.environ["WEBHOOK_SECRET"]))
    uvicorn.run(served, host=HOST, port=int(sys.argv[1]), log_level="warning")
