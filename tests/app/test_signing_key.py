"""Where the signing key comes from: a setting, a file, or the data folder of an embedded installation."""

import stat
from pathlib import Path

import pytest

from app.addresses import Addresses, signing_key
from app.settings import Settings, load
from memory.errors import Permanent

EMBEDDED, OUTSIDE = (Addresses("postgresql://x", None, None, is_embedded=yes) for yes in (True, False))
HEX = "11" * 32


def test_an_embedded_installation_draws_one_and_keeps_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    key = signing_key(settings, EMBEDDED)
    path = tmp_path / "secrets" / "signing-key"
    assert key
    assert signing_key(settings, EMBEDDED) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing_key(load(environ={"COUNTERSIGN_SIGNING_KEY_FILE": str(path)}, folder=tmp_path), OUTSIDE) == key


def test_with_an_outside_database_nothing_is_drawn(tmp_path: Path) -> None:
    assert signing_key(Settings(data_dir=tmp_path), OUTSIDE) is None
    assert list(tmp_path.iterdir()) == []


def test_the_setting_beats_the_folder(tmp_path: Path) -> None:
    settings = load(environ={"COUNTERSIGN_SIGNING_KEY": HEX, "COUNTERSIGN_DATA_DIR": str(tmp_path)}, folder=tmp_path)
    key = signing_key(settings, EMBEDDED)
    assert key
    assert (key.secret.hex(), (tmp_path / "secrets").exists(), HEX in repr(settings)) == (HEX, False, False)


def test_a_setting_that_is_no_key_is_named_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"COUNTERSIGN_SIGNING_KEY.*64 hexadecimal digits") as error:
        load(environ={"COUNTERSIGN_SIGNING_KEY": "hunter2"}, folder=tmp_path)
    assert (error.value.code, "hunter2" in str(error.value)) == ("configuration", False)


def test_a_damaged_file_in_the_folder_is_named(tmp_path: Path) -> None:
    signing_key(Settings(data_dir=tmp_path), EMBEDDED)
    (tmp_path / "secrets" / "signing-key").write_text("hunter2")
    with pytest.raises(Permanent, match="signing-key") as error:
        signing_key(Settings(data_dir=tmp_path), EMBEDDED)
    assert (error.value.code, "hunter2" in str(error.value)) == ("configuration", False)
