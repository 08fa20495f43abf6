from pathlib import Path

import pytest

from app.addresses import world_port, world_url
from app.settings import load
from memory.errors import Permanent


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load(environ={}, folder=tmp_path)
    assert (settings.api, str(settings.data_dir), settings.database_url) == (
        "http://127.0.0.1:8000",
        ".countersign",
        None,
    )


def test_flags_win_over_environment_over_dotenv_over_toml(tmp_path: Path) -> None:
    (tmp_path / "countersign.toml").write_text('port = 1\nhost = "toml"\nlanes = 1\ntenant = "toml"\n')
    (tmp_path / ".env").write_text("COUNTERSIGN_PORT=2\nCOUNTERSIGN_HOST=dotenv\nCOUNTERSIGN_LANES=2\nOTHER=x\n")
    settings = load({"port": 4}, environ={"COUNTERSIGN_PORT": "3", "COUNTERSIGN_HOST": "env"}, folder=tmp_path)
    assert (settings.port, settings.host, settings.lanes, settings.tenant) == (4, "env", 2, "toml")


def test_nested_settings_merge_over_layers(tmp_path: Path) -> None:
    (tmp_path / "countersign.toml").write_text("[budget]\ntokens = 7\ncalls = 8\n")
    settings = load(environ={"COUNTERSIGN_BUDGET__CALLS": "9"}, folder=tmp_path)
    assert (settings.budget.tokens, settings.budget.calls) == (7, 9)


def test_secrets_are_read_from_files_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("cs_secret\n")
    settings = load(environ={"COUNTERSIGN_KEY_FILE": str(tmp_path / "key")}, folder=tmp_path)
    assert settings.key
    assert settings.key.get_secret_value() == "cs_secret"
    assert "cs_secret" not in repr(settings) + str(settings.model_dump(mode="json"))


def test_the_bare_database_url_is_an_alias_that_ours_beats(tmp_path: Path) -> None:
    bare = {"DATABASE_URL": "postgresql://a/b"}
    alias_and_own = {**bare, "COUNTERSIGN_DATABASE_URL": "postgresql://c/d"}
    for environ, url in ((bare, "postgresql://a/b"), (alias_and_own, "postgresql://c/d")):
        secret = load(environ=environ, folder=tmp_path).database_url
        assert secret
        assert secret.get_secret_value() == url


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"COUNTERSIGN_DATABSE_URL": "x"}, "did you mean 'COUNTERSIGN_DATABASE_URL'"),
        ({"COUNTERSIGN_NONSENSE": "x"}, "config show"),
        ({"COUNTERSIGN_PORT": "many"}, "COUNTERSIGN_PORT"),
        ({"COUNTERSIGN_PORT": "70000"}, "COUNTERSIGN_PORT"),
        ({"COUNTERSIGN_BUDGET__TOKEN": "1"}, "COUNTERSIGN_BUDGET__TOKEN"),
        ({"COUNTERSIGN_PORT_FILE": "x"}, "only secrets"),
        ({"COUNTERSIGN_EMBEDDINGS": "word2vec"}, "lexical, minilm or provider:model"),
        ({"COUNTERSIGN_KEY_FILE": "/nowhere/key"}, "/nowhere/key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    with pytest.raises(Permanent, match=r".+") as error:
        load(environ=environ, folder=tmp_path)
    assert error.value.code == "configuration"
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("countersign.toml", "port = 1\nport = 2\n", "line 2"),
        ("countersign.toml", "[budget]\ncalls = 1\n[budget]\ncalls = 2\n", "line 3"),
        ("countersign.toml", "port = 1\n'port' = 2\n", "line 2"),
        (".env", "COUNTERSIGN_PORT=1\n# again\nCOUNTERSIGN_PORT=2\n", "twice, in lines 1 and 3"),
        (".env", "COUNTERSIGN_PORT=1\nexport countersign_port=2\n", "twice, in lines 1 and 2"),
    ],
)
def test_a_setting_that_stands_twice_in_a_file_is_named_with_its_line(
    tmp_path: Path, file: str, text: str, says: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(Permanent, match=says) as error:
        load(environ={}, folder=tmp_path)
    assert (error.value.code, file in str(error.value)) == ("configuration", True)


@pytest.mark.parametrize(("file", "text"), [("countersign.toml", "port = 7"), (".env", "COUNTERSIGN_PORT=7")])
def test_files_of_other_systems_are_read(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + f"{text}\r\n# end\r\n".encode())
    assert load(environ={}, folder=tmp_path).port == 7


def test_the_demo_business_has_a_port_of_its_own(tmp_path: Path) -> None:
    settings = load(environ={"COUNTERSIGN_WORLD_PORT": "9011"}, folder=tmp_path)
    assert (world_port(settings), world_url(settings)) == (9011, "http://127.0.0.1:9011")
    other = settings.model_copy(update={"world_url": "http://127.0.0.1:9012"})
    assert (world_port(other), world_url(other)) == (9012, "http://127.0.0.1:9012")


@pytest.mark.parametrize(("text", "says"), [("prot = 1", "did you mean 'port'"), ("port =", "cannot be read")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "countersign.toml").write_text(text)
    with pytest.raises(Permanent) as error:
        load(environ={}, folder=tmp_path)
    assert "countersign.toml" in str(error.value)
    assert says in str(error.value)


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    assert load(environ={"COUNTERSIGN_MODEL": "", "DATABASE_URL": ""}, folder=tmp_path).model is None


@pytest.mark.parametrize("name", ["lexical", "minilm", "openai:text-embedding-3-small"])
def test_any_embedder_can_be_set_by_its_name(tmp_path: Path, name: str) -> None:
    """Whether it can be opened here is found out by whoever opens it, and by doctor."""
    assert load(environ={"COUNTERSIGN_EMBEDDINGS": name}, folder=tmp_path).embeddings == name
