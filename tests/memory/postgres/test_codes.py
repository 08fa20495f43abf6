"""Closed sets of SQL: a value is a member of its set, or the caller stops before it can act on it."""

from typing import Literal, get_args

import pytest

from memory.errors import Permanent
from memory.postgres.codes import member

Code = Literal["go", "killed"]
CODES: tuple[Code, ...] = get_args(Code)


def test_a_listed_value_is_returned_as_its_member() -> None:
    assert [member(CODES, value, "claim") for value in ("go", "killed")] == ["go", "killed"]


@pytest.mark.parametrize("value", ["gone", "", None, 1, ["go"]])
def test_any_other_value_stops_the_caller_and_names_the_function(value: object) -> None:
    with pytest.raises(Permanent, match="'claim'") as error:
        member(CODES, value, "claim")
    assert error.value.code == "internal"
