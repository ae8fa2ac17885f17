"""The page of roles and rights is what the tables in the code say."""

from tests.unit.client import roles_page


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    assert roles_page.PAGE.read_text() == roles_page.page(), "write it again: python -m tests.unit.client.roles_page"


def test_every_object_and_role_is_on_the_page() -> None:
    text = roles_page.PAGE.read_text()
    assert "| `relay_slot` | | | | SELECT, UPDATE | SELECT |" in text
    assert "| `relay` | all topics | Write |" in text
    assert "| `amends_owner` |" in text
