"""Schemas of a registry on disk, one file an id, so that a process may begin while the registry is away.

Only what the registry itself has said is written here, and it is read only when the registry does not answer: a
registry that was set up anew, with other ids, is believed before its former self. A file that is damaged is none.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from orchestrator.messaging.avro_walk import Schema
from orchestrator.messaging.registry import schema_text

log = logging.getLogger("orchestrator.messaging.schemas")

_PLACE_CHARS = 16


def default_folder() -> Path:
    """The user's cache, by the XDG base directory rules."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "amends" / "schemas"


class SchemaFolder:
    """One registry's part of the folder. What can't be written is said once: the cache is a help, no need."""

    def __init__(self, root: Path, registry: str) -> None:
        """`registry`: its URL without user and password."""
        self._place = root / hashlib.sha256(registry.encode()).hexdigest()[:_PLACE_CHARS]
        self._is_told = False

    def read(self, schema_id: int) -> Schema | None:
        """The schema of an id; None if it is not here, or not as it was written."""
        path = self._path(schema_id)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            schema = kept["schema"]
            if kept["id"] == schema_id and kept["sha256"] == _digest(schema):
                return schema
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s): the registry is asked again", path, error)
            return None
        log.warning("%s is damaged: the registry is asked again", path)
        return None

    def find(self, schema: Schema) -> int | None:
        """The id under which the registry has this schema, as it last said."""
        for path in sorted(self._place.glob("*.json")):
            if path.stem.isdigit() and self.read(int(path.stem)) == schema:
                return int(path.stem)
        return None

    def keep(self, schema_id: int, schema: Schema) -> None:
        """Write it, whole or not at all; never raises for a disk that won't."""
        if self._path(schema_id).exists() and self.read(schema_id) == schema:
            return
        text = json.dumps({"id": schema_id, "sha256": _digest(schema), "schema": schema}, ensure_ascii=False)
        part = self._place / f"{schema_id}.{os.getpid()}.part"
        try:
            self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(text, encoding="utf-8")
            part.replace(self._path(schema_id))
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                log.warning(
                    "schemas of the registry can't be kept on disk (%s): while it is away, a process that starts has "
                    "none; set AMENDS_SCHEMA_CACHE_DIR to a folder that can be written",
                    error,
                )

    def _path(self, schema_id: int) -> Path:
        return self._place / f"{schema_id}.json"


def _digest(schema: Schema) -> str:
    return hashlib.sha256(schema_text(schema).encode()).hexdigest()
