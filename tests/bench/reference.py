"""What this machine's Postgres can do: one-row INSERTs, each a commit, from 16 clients. By pgbench, of the wheel."""

import re
import subprocess
import tempfile
from pathlib import Path

import psycopg

from orchestrator.local.postgres import installed
from orchestrator.local.stack import Stack
from tests import servers

CLIENTS, THREADS, SECONDS = 16, 2, 4
TABLE = "CREATE TABLE one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)"
SCRIPT = f"INSERT INTO one_row (note) VALUES ('{'x' * 200}');\n"


def commits_per_s(stack: Stack) -> float:
    """Raises CalledProcessError with what pgbench said."""
    url = servers.create_database(stack.database_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "insert.sql"
            script.write_text(SCRIPT)
            command = [str(installed() / "bin" / "pgbench"), "--no-vacuum", "--protocol=prepared", "-f", str(script)]
            counts = ["-c", str(CLIENTS), "-j", str(THREADS), "-T", str(SECONDS)]
            said = subprocess.run([*command, *counts, url], check=True, capture_output=True, text=True).stdout
    finally:
        servers.drop_databases(stack.database_url, servers.database_name(url))
    found = re.search(r"tps = ([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])
