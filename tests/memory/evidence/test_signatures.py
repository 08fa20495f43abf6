"""Ed25519 of the stand-alone verifier: RFC 8032, one spelling of each signature, with and without a library."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.evidence import verifier
from memory.evidence.verifier import Wrong, check_signature

FILE = Path(verifier.__file__)
ORDER = 2**252 + 27742317777372353535851937790883648493
LONG = Path(__file__).with_name("rfc8032_1024.txt").read_text().strip()
VECTORS = [  # section 7.1: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        LONG,
        "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e30a6"
        "ac00a9704a188a03",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
]
EDGES = [  # 32 bytes that spell no point, or a point in a second way
    (2**255 - 19 + 1).to_bytes(32, "little"),
    (2**255 - 1).to_bytes(32, "little"),
    (2**255 + 1).to_bytes(32, "little"),
    (2).to_bytes(32, "little"),
]


def is_right(public: bytes, text: bytes, signature: bytes) -> bool:
    try:
        check_signature(public, text, signature)
    except Wrong:
        return False
    return True


@pytest.fixture(params=["library", "alone"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Check once by `cryptography` and once by the file's own arithmetic."""
    if request.param == "alone":
        monkeypatch.setitem(vars(verifier), "Ed25519PublicKey", None)
    return request.param


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("vector", VECTORS)
def test_signatures_of_the_standard_are_right(vector: tuple[str, str, str]) -> None:
    public, text, signature = map(bytes.fromhex, vector)
    assert is_right(public, text, signature)
    assert not is_right(public, text + b"\0", signature)
    assert not is_right(public, text, signature[:32] + bytes([signature[32] ^ 1]) + signature[33:])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("vector", VECTORS)
def test_a_signature_has_no_second_spelling(vector: tuple[str, str, str]) -> None:
    public, text, signature = map(bytes.fromhex, vector)
    scalar = int.from_bytes(signature[32:], "little")
    for times in range(1, (2**256 - scalar) // ORDER + 1):
        assert not is_right(public, text, signature[:32] + (scalar + times * ORDER).to_bytes(32, "little"))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("edge", EDGES)
def test_what_is_no_point_is_refused(edge: bytes) -> None:
    public, text, signature = map(bytes.fromhex, VECTORS[0])
    assert not is_right(edge, text, signature)
    assert not is_right(public, text, edge + signature[32:])


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(0, 511))
def test_both_ways_agree(secret: bytes, text: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    signature, public = key.sign(text), key.public_key().public_bytes_raw()
    other = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    answers = [is_right(public, text, signature), is_right(public, text, other)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(verifier), "Ed25519PublicKey", None)
        assert answers == [is_right(public, text, signature), is_right(public, text, other)] == [True, False]


def test_the_library_is_used_where_it_is_there() -> None:
    code = f"import runpy; print(runpy.run_path({str(FILE)!r})['Ed25519PublicKey'] is not None)"
    for flags, answer in (([], "True"), (["-I", "-S"], "False")):
        run = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == answer
