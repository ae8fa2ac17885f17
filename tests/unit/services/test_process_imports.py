"""What an orchestrator of the shop loads: it has to be back within a second, so nothing of the participants."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("sqlalchemy", "alembic", "httpx", "rich", "starlette")
PROGRAM = f"import services.sagas, sys; sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"


def test_the_orchestrators_app_loads_nothing_heavy() -> None:
    repository = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"services.sagas loads {run.stderr}"
