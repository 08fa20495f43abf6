"""Ed25519 key that signs the heads of logs; read from the settings at start-up, used by `log`.

Whoever holds it can sign any head. Its public half and id stand in the database, the key itself never does.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from memory.evidence.log_memory import LogMemory

LENGTH = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key with its public half."""

    secret: bytes = field(repr=False)
    public: bytes
    memory: LogMemory = field(default_factory=LogMemory, repr=False, compare=False)
    """What was signed with it: a log that does not go on from that is signed no more."""

    @classmethod
    def of(cls, text: str, folder: Path | None = None) -> "SigningKey":
        """Return the key that a setting or a file spells; raises ValueError, which never quotes it.

        `folder` is where it is remembered what was signed, beyond the life of this process.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = decoded(text)
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        return cls(secret, public, LogMemory(folder))

    @property
    def id(self) -> str:
        """Return the id under which heads name the key."""
        return hashlib.sha256(self.public).hexdigest()[:16]

    def sign(self, text: str) -> bytes:
        """Return the signature of a text, 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(text.encode())

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Return whether a signature of a text is by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def draw() -> str:
    """Return a new key as 64 hexadecimal digits."""
    return secrets.token_hex(LENGTH)


def decoded(text: str) -> bytes:
    """Return the bytes of a key in hexadecimal digits or base64; raises ValueError, which never quotes it."""
    text = text.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        secret = base64.b64decode(text, altchars=b"-_" if set(text) & set("-_") else None, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != LENGTH:
        raise ValueError(f"it is no key: write {LENGTH} bytes as 64 hexadecimal digits or in base64")
    return secret
