"""A payment gateway that misbehaves on request, with its own book: what really happened to the money."""

import json
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Charge:
    id: str
    key: str
    amount: int
    refunds: list[str] = field(default_factory=list)


class Gateway:
    """`honours_keys`: the same key gets the same answer. `script`: what the next charges do, one word each.

    ok, declined, lost (charges, then cuts the line), slow (charges after `slow_s`), hold_before and hold_after (wait
    for `release`, before or after the effect), slow_down (429), broken (500, no effect). `down`: all requests get 503.
    """

    def __init__(self, *, honours_keys: bool = True) -> None:
        self.honours_keys = honours_keys
        self.script: deque[str] = deque()
        self.refund_script: deque[str] = deque()
        self.down = False
        self.slow_s = 0.5
        self.delay_s = 0.0
        self.book: list[Charge] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.calls: list[tuple[str, str, float]] = []  # (what, key, when)
        self.held = threading.Event()
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": self}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def net(self, key: str | None = None) -> int:
        """Charged minus refunded, in charges."""
        with self.lock:
            return sum(1 for c in self.book if key in (None, c.key) and not c.refunds)

    def count(self, what: str, key: str | None = None) -> int:
        with self.lock:
            return sum(1 for w, k, _ in self.calls if w == what and key in (None, k))

    def charge(self, key: str, amount: int) -> tuple[int, bytes]:
        with self.lock:
            self.calls.append(("charge", key, time.time()))
            word = self.script.popleft() if self.script else "ok"
        if word == "slow":
            time.sleep(self.slow_s)
        if word == "hold_before":
            self.held.set()
            self.release.wait(60)
        with self.lock:
            answer = self._charged(key, amount, word)
        if word == "hold_after":
            self.held.set()
            self.release.wait(60)
        if self.delay_s:
            time.sleep(self.delay_s)
        if word == "lost":
            raise ConnectionAbortedError
        return answer

    def _charged(self, key: str, amount: int, word: str) -> tuple[int, bytes]:
        if self.honours_keys and key in self.answers:
            return self.answers[key]
        if word == "broken":
            return 500, b"broken"
        if word == "slow_down":
            return 429, b"slow down"
        if word == "declined":
            answer = (402, b"no funds")
        else:
            self.book.append(Charge(f"ch-{len(self.book) + 1}", key, amount))
            answer = (200, json.dumps({"id": self.book[-1].id}).encode())
        self.answers[key] = answer
        return answer

    def find(self, key: str) -> tuple[int, bytes]:
        with self.lock:
            self.calls.append(("lookup", key, time.time()))
            return 200, json.dumps([{"id": c.id} for c in self.book if c.key == key]).encode()

    def refund(self, charge_id: str | None, key: str, undo_key: str) -> tuple[int, bytes]:
        with self.lock:
            self.calls.append(("refund", undo_key, time.time()))
            word = self.refund_script.popleft() if self.refund_script else "ok"
        if word == "hold_before":
            self.held.set()
            self.release.wait(60)
        if word == "refused":
            return 409, b"refused"
        with self.lock:
            for charge in self.book:
                if (charge.id == charge_id or (charge_id is None and charge.key == key)) and not charge.refunds:
                    charge.refunds.append(undo_key)
        if word == "hold_after":
            self.held.set()
            self.release.wait(60)
        if word == "lost":
            raise ConnectionAbortedError
        return 200, json.dumps({"id": f"re-{undo_key}"}).encode()


class _Handler(BaseHTTPRequestHandler):
    gateway: Gateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        key = parse_qs(urlsplit(self.path).query)["key"][0]
        self._answer(lambda: self.gateway.find(key))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if self.path == "/charges":
            self._answer(lambda: self.gateway.charge(key, body["amount"]))
        else:
            self._answer(lambda: self.gateway.refund(body["charge"], body["key"], key))

    def _answer(self, act) -> None:
        try:
            status, content = (503, b"down") if self.gateway.down else act()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionAbortedError:
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # its client was killed
            super().handle()

    def log_message(self, *_args) -> None:
        pass
