"""Write docs/reference/openapi.json from the API: python -m tests.unit.api.reference."""

import json
from pathlib import Path

from orchestrator.api.application import document

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def openapi_text() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(openapi_text())
