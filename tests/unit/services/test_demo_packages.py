"""What `make demo` installs is enough to run it: the tests' own environment holds more, and would hide what is missing."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PROGRAM = '''
import importlib, pkgutil, re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

locked = {name.lower().replace("_", "-") for name in re.findall(r"^([A-Za-z0-9._-]+)==", Path(sys.argv[1]).read_text(), re.M)}
owners = packages_distributions()

class OnlyLocked:
    """Refuses each package that no locked distribution brings; what nobody installed is the standard library or ours."""

    def find_spec(self, name, path=None, target=None):
        brought_by = {owner.lower().replace("_", "-") for owner in owners.get(name, [])} - {"amends"}
        if brought_by and not brought_by & locked:
            raise ModuleNotFoundError(f"{name} is brought by {brought_by}, which {sys.argv[1]} lacks", name=name)
        return None

sys.meta_path.insert(0, OnlyLocked())
for room in sys.argv[2:]:
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if module.name != "orchestrator.migrations.env" and ".versions." not in module.name and "pytest" not in module.name:
            importlib.import_module(module.name)
'''


def test_every_module_of_the_demo_loads_with_the_locked_packages_alone() -> None:
    command = [sys.executable, "-c", PROGRAM, "requirements.lock", "outbox_relay", "orchestrator", "services"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
