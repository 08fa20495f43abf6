"""The signing key: spelled in two ways, never quoted, drawn once."""

import base64

import pytest

from memory.evidence.signing_key import SigningKey, decoded, draw

SECRET = bytes(range(32))
RFC_8032 = (
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
)
"""The first test vector of section 7.1."""


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex(),
        SECRET.hex().upper() + "\n",
        base64.b64encode(SECRET).decode(),
        base64.urlsafe_b64encode(SECRET).decode(),
    ],
)
def test_a_key_is_read_in_hexadecimal_and_in_base64(text: str) -> None:
    assert decoded(text) == SECRET


@pytest.mark.parametrize("text", ["", "ab", SECRET.hex()[1:], SECRET.hex() + "00", "hunter2 hunter2", "ß" * 64])
def test_what_is_no_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits") as error:
        decoded(text)
    assert not text or text not in str(error.value)


def test_it_is_the_standards_algorithm_and_its_secret_is_not_shown() -> None:
    key = SigningKey.of(RFC_8032[0])
    assert (key.public.hex(), len(key.id)) == (RFC_8032[1], 16)
    assert key.sign("").hex().startswith("e5564300c360ac729086e2cc806e828a")
    assert RFC_8032[0] not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_drawn_keys_differ() -> None:
    assert SigningKey.of(draw()).id != SigningKey.of(draw()).id
