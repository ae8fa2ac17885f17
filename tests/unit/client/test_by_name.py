"""A message that is known by name alone is read from the folder of the schemas, and from nowhere else."""

from pathlib import Path

import pytest

from orchestrator.client.by_name import encoded_by_name
from orchestrator.errors import PayloadError, RequestError
from orchestrator.messaging import avro
from orchestrator.settings import Settings

SCHEMA = """{"type": "record", "name": "%s", "fields": [{"name": "reference", "type": "string"}]}"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "Inside.avsc").write_text(SCHEMA % "Inside")
    (tmp_path / "Outside.avsc").write_text(SCHEMA % "Outside")
    return Settings(database_url="postgresql://h/d", schemas_dir=folder)  # type: ignore[arg-type]


def test_a_name_is_a_file_of_the_folder(settings: Settings) -> None:
    assert avro.decode(encoded_by_name("Inside", {"reference": "r1"}, settings)) == {"reference": "r1"}
    with pytest.raises(PayloadError):
        encoded_by_name("Inside", {"other": 1}, settings)


@pytest.mark.parametrize("name", ["../Outside", "{root}/Outside", "sub/../../Outside", "x\x00"])
def test_a_name_leads_nowhere_else(settings: Settings, name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        encoded_by_name(name.format(root=tmp_path), {"reference": "r1"}, settings)


def test_what_nobody_knows_is_said(settings: Settings) -> None:
    with pytest.raises(RequestError, match="no message Nobodys is known"):
        encoded_by_name("Nobodys", {}, settings)
