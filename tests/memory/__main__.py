"""See tests.memory.parked."""

import secrets
import sys

from tests import servers
from tests.integration.engine import kit
from tests.memory.parked import RSS_MB_MAX, measure


def main(count: int) -> int:
    servers.begin_run()
    try:
        stack = servers.shared_stack()
        url = servers.create_database(stack.database_url)
        prefix = f"t.{servers.run_name()}.{secrets.token_hex(4)}."
        with kit.system(url, stack.kafka_bootstrap_servers, prefix) as system:
            figures = measure(system, count)
        servers.delete_topics(stack.kafka_bootstrap_servers, prefix)
        servers.drop_databases(stack.database_url, servers.database_name(url))
    finally:
        servers.end_run()
    print(figures)
    return 0 if figures.peak_mb < RSS_MB_MAX else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
