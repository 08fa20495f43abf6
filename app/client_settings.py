"""Settings of a client of the API: where it is and by which key; loaded by every command that asks it."""

import os
from dataclasses import dataclass
from pathlib import Path

_PREFIX, _URL, _KEY = "COUNTERSIGN_", "COUNTERSIGN_URL", "COUNTERSIGN_KEY"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Address of the API, and the person's key if one is set."""

    api: str
    key: str | None


def load_client() -> ClientSettings:
    """Return the settings of a client; raises Permanent("configuration") as `app.settings.load` does.

    Where the environment names address and key and nothing else of ours, there is nothing to check, and the model of
    all settings is not loaded: that would take longer than the question itself.
    """
    own_values = {name: value for name, value in os.environ.items() if name.upper().startswith(_PREFIX) and value}
    is_plain = _URL in own_values and own_values.keys() <= {_URL, _KEY}
    if is_plain and not Path("countersign.toml").exists() and not Path(".env").exists():
        return ClientSettings(own_values[_URL].rstrip("/"), own_values.get(_KEY))
    from app.settings import load

    settings = load()
    return ClientSettings(settings.api, settings.key.get_secret_value() if settings.key else None)
