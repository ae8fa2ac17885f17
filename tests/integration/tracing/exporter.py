"""An exporter as a process of its own, to be killed: its arguments are a database and an endpoint."""

import signal
import sys
import threading

from orchestrator.engine.installation import connect
from orchestrator.engine.span_export import SpanExport
from orchestrator.settings import Settings


def main(url: str, endpoint: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = Settings(database_url=url, otel_exporter_otlp_endpoint=endpoint, topic_prefix="shop.")
    export = SpanExport(settings, lambda: connect(url, "spans"))
    export.start()
    while not stop.wait(0.2):
        pass  # A signal that another thread got is handled when this one wakes up.
    export.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
