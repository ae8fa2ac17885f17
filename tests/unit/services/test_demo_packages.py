"""What `make demo` installs is enough to run it: the tests' environment holds more, and would hide what is missing."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PROGRAM = '''
import importlib, pkgutil, re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

def normal(name):
    return name.lower().replace("_", "-")

lock = Path(sys.argv[1]).read_text()
locked = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)}
owners = packages_distributions()
# Run by Alembic; of the extra `api`; run by pytest.
unwanted = re.compile(r"orchestrator[.]migrations[.](env|versions[.].*)|orchestrator[.]api([.].*)?|.*pytest_plugin")

class OnlyLocked:
    """Refuses what is installed but not locked; what nobody installed is the standard library's, or ours."""

    def find_spec(self, name, path=None, target=None):
        brought_by = {normal(owner) for owner in owners.get(name, [])} - {"amends"}
        if brought_by and not brought_by & locked:
            raise ModuleNotFoundError(f"{name} is brought by {brought_by}, which {sys.argv[1]} lacks", name=name)
        return None

sys.meta_path.insert(0, OnlyLocked())
for room in sys.argv[2:]:
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if not unwanted.fullmatch(module.name):
            importlib.import_module(module.name)
'''


def test_every_module_of_the_demo_loads_with_the_locked_packages_alone() -> None:
    command = [sys.executable, "-c", PROGRAM, "requirements.lock", "outbox_relay", "orchestrator", "services"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
