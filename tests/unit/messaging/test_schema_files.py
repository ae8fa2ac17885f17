"""The .avsc files: written from the classes, held against them, and never changed so that old messages are lost."""

from pathlib import Path

import pytest
from pydantic import create_model

from orchestrator.contracts import Command, Message
from orchestrator.errors import DefinitionError, DependencyError, Failure
from orchestrator.messaging import avro, control
from orchestrator.messaging.schema_files import check_schemas, incompatible, schemas_of, write_files, write_schemas

ROOT = Path(__file__).parents[3]


def message(name, **fields):
    return create_model(name, __base__=Message, **fields)


def order(**more):
    return message("FiledOrder", order_id=(str, ...), total=(int, ...), **more)


def test_ours_are_committed_as_they_are():
    committed = {path.stem: avro.read_schema(path) for path in (ROOT / "schemas/amends").glob("*.avsc")}
    assert committed == control.SCHEMAS


def test_write_then_check(tmp_path):
    assert check_schemas(tmp_path, [order()]) == [
        f"{tmp_path}/FiledOrder.avsc: missing; type `amends schemas write` to write it"
    ]
    assert write_schemas(tmp_path, [order()]) == [tmp_path / "FiledOrder.avsc"]
    assert check_schemas(tmp_path, [order()]) == []
    assert write_schemas(tmp_path, [order()]) == []


def test_drift_is_named(tmp_path):
    write_schemas(tmp_path, [order()])
    (problem,) = check_schemas(tmp_path, [order(note=(str, ""))])
    assert "FiledOrder.avsc: differs from the class" in problem


def test_a_changed_schema_keeps_its_former_version_and_its_messages_readable(tmp_path):
    old = order()
    payload = avro.encode(old, {"order_id": "7", "total": 3})
    write_schemas(tmp_path, [old])
    new = order(note=(str, "none"))
    assert write_schemas(tmp_path, [new]) == [tmp_path / "FiledOrder.avsc"]
    (former,) = (tmp_path / "former").iterdir()
    assert former.name == f"FiledOrder.{payload[2:10].hex()}.avsc"
    assert new.model_validate(avro.decode(payload)).note == "none"
    assert check_schemas(tmp_path, [new]) == []


def test_a_change_that_loses_messages_is_refused_and_writes_nothing(tmp_path):
    write_schemas(tmp_path, [order()])
    before = (tmp_path / "FiledOrder.avsc").read_text()
    with pytest.raises(DefinitionError, match=r"FiledOrder\.note is new and has no default"):
        write_schemas(tmp_path, [order(note=(str, ...))])
    assert (tmp_path / "FiledOrder.avsc").read_text() == before


def test_former_versions_count_too(tmp_path):
    write_schemas(tmp_path, [order(note=(str, "x"))])
    write_schemas(tmp_path, [order(note=(str | None, "x"))])
    problems = check_schemas(tmp_path, [order(note=(int | None, 0))])
    assert any("former/" in problem and "FiledOrder.note was string" in problem for problem in problems)


def test_replies_are_published_with_their_commands(tmp_path):
    class FiledReply(Message):
        n: int

    class FiledAsk(Command[FiledReply], service="x"):
        pass

    class FiledList(Command[list[FiledReply]], service="x"):
        pass

    assert list(schemas_of([FiledAsk, FiledList])) == ["FiledAsk", "FiledReply", "FiledList", "FiledList.reply"]
    write_schemas(tmp_path, [FiledAsk, FiledList])
    assert check_schemas(tmp_path, [FiledAsk, FiledList]) == []


def test_a_changed_default_is_written_without_a_former_version(tmp_path):
    write_files(tmp_path, {"D": avro.schema_of(message("D", n=(int, 1)))})
    assert write_files(tmp_path, {"D": avro.schema_of(message("D", n=(int, 2)))}) == [tmp_path / "D.avsc"]
    assert not (tmp_path / "former").exists()


def test_names_that_two_classes_claim_are_told(tmp_path):
    def elsewhere():
        class FiledTwice(Message):
            pass

        class FiledNo(Failure):
            pass

        return FiledTwice

    class FiledTwice(Message):
        pass

    class FiledNo(Failure):
        pass

    write_schemas(tmp_path, [elsewhere()])
    (problem,) = check_schemas(tmp_path, [FiledTwice])
    assert "FiledTwice is the name of several classes" in problem
    assert any("FiledNo is the name of several Failures" in problem for problem in check_schemas(tmp_path))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "FiledOrder.avsc").write_text("{")
    with pytest.raises(DependencyError, match=r"FiledOrder\.avsc"):
        check_schemas(tmp_path, [order()])


Inner = message("Inner", a=(int, ...))
Inner2 = message("Inner", a=(int, ...), b=(str, "x"))
Inner3 = message("Inner", a=(int, ...), b=(str, ...))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"a": int}, {"a": int}, None),
        ({"a": int}, {"a": float}, None),
        ({"a": int}, {"a": int | None}, None),
        ({"a": int}, {"a": str | int}, None),
        ({"a": int | str}, {"a": int | str | None}, None),
        ({"a": Inner}, {"a": Inner2}, None),
        ({"a": list[Inner]}, {"a": list[Inner2 | None]}, None),
        ({"a": float}, {"a": int}, "M.a was double and is long"),
        ({"a": int}, {"a": str}, "M.a was long and is string"),
        ({"a": int | None}, {"a": int}, "M.a was null and is long"),
        ({"a": int | str}, {"a": int | None}, "M.a was string"),
        ({"a": int, "b": int}, {"a": int}, "M.b is gone"),
        ({"a": Inner}, {"a": Inner3}, "Inner.b is new and has no default"),
        ({"a": dict[str, Inner]}, {"a": dict[str, Inner3]}, "Inner.b is new"),
        ({"a": Inner | None}, {"a": Inner3 | None}, "Inner.b is new"),
        ({"a": list[int]}, {"a": dict[str, int]}, "M.a was array and is map"),
        ({"a": list[int]}, {"a": list[str]}, "M.a[] was long and is string"),
        ({"a": Inner}, {"a": message("Other", a=(int, ...))}, "M.a was Inner and is Other"),
    ],
)
def test_what_may_change(old, new, says):
    schemas = [avro.schema_of(message("M", **{n: (tp, ...) for n, tp in fields.items()})) for fields in (new, old)]
    found = incompatible(*schemas)
    assert found == [] if says is None else says in "\n".join(found)


def test_a_recursive_schema_can_be_compared():
    class Chain(Message):
        next: "Chain | None" = None

    schema = avro.schema_of(Chain)
    assert incompatible(schema, schema) == []
