"""Frozen values that a turn makes by the thousand: its entry, its decisions, its end."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """A dataclass with slots, compared and hashed by its fields, that type checkers hold frozen.

    Python itself would not: what `frozen=True` makes sets each field by a call of `object.__setattr__`, which takes
    three times as long, and was an eighth of all that a replay does. Elsewhere values are frozen dataclasses.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
