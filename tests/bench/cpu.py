"""CPU seconds of this process and of all that it started, ended ones included. Linux only."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_COMM_END, _PPID, _UTIME, _CSTIME = ")", 1, 11, 15  # fields after the name of the program, see proc(5)


def cpu_seconds() -> dict[str, float]:
    """CPU seconds so far by program: orchestrator, relay, participant, postgres, java, and client for the rest."""
    parents, seconds, names = {}, {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text, words = stat.read_text(), (stat.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # It ended while we looked: its parent has its CPU.
        fields = text.rpartition(_COMM_END)[2].split()
        pid = int(stat.parent.name)
        parents[pid] = int(fields[_PPID])
        seconds[pid] = sum(int(ticks) for ticks in fields[_UTIME : _CSTIME + 1]) / TICKS_PER_S
        names[pid] = _program(words)
    mine: dict[str, float] = {}
    for pid, used in seconds.items():
        if _descends(pid, os.getpid(), parents):
            mine[names[pid]] = mine.get(names[pid], 0.0) + used
    return mine


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root


def _program(command_line: str) -> str:
    words = command_line.split("\0")
    for name in ("orchestrator", "relay", "participant"):
        if "orchestrator.cli" in words and name in words:
            return name
    if words[0].startswith("postgres") or words[0].endswith("postgres"):
        return "postgres"
    return "java" if words[0].endswith("java") else "client"


def used(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was used in between."""
    return {name: after[name] - before.get(name, 0.0) for name in after}
