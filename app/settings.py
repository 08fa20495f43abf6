"""Settings from flags, environment and files; read here and nowhere else, then passed down frozen."""

import difflib
import io
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from app.edge import Edge
from memory.embeddings.providers import embedder_name
from memory.errors import Permanent
from tools.money import DEFAULT
from tools.money import code as currency_code

PREFIX = "COUNTERSIGN_"
SEPARATOR = "__"
TOML = Path("countersign.toml")
DOTENV = Path(".env")
_BY_FILE = "_file"


class Bounds(BaseModel):
    """Budget of one run: the default, and the limit for plans that people send; runbooks bring their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(default=50_000, ge=0, le=10**12)
    """Tokens of language models."""
    micros: int = Field(default=5_000_000, ge=0, le=10**12)
    """Cost of operation in millionths of the accounting currency."""
    calls: int = Field(default=1_000, ge=1, le=10**9)
    """Calls of tools."""


def _signing_key(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None:
        # What it stands with needs the database's driver, which most processes that read settings do not.
        from memory.evidence.signing_key import decoded

        decoded(secret.get_secret_value())
    return secret


class Settings(BaseModel):
    """Every setting of `COUNTERSIGN_*`, checked; get one from `load`, which also refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: SecretStr | None = None
    """The app's database role; unset means the embedded Postgres in `data_dir`."""
    worker_database_url: SecretStr | None = None
    """The workers' role, for `worker`, for `serve` with a worker inside, and for `doctor`."""
    database_owner_url: SecretStr | None = None
    """The owner's role, for `migrate`, `up` and `demo` only."""
    world_database_url: SecretStr | None = None
    """The role of the demo business, for whoever starts that."""
    world_url: str | None = None
    """Where the business services listen; unset means the demo world beside us."""
    world_port: int = Field(default=8010, ge=1, le=65535)
    """Port that the demo business of `up` and `world` listens at, unless `world_url` says another."""
    world_key_read: SecretStr | None = None
    """Key of the researcher at the business services; unset means one made up per data folder."""
    world_key_write: SecretStr | None = None
    """Key of the executor at the business services; unset as above."""
    signing_key: Annotated[SecretStr | None, AfterValidator(_signing_key)] = None
    """Key that signs the log: 32 bytes, as 64 hexadecimal digits or in base64; unset means one made up per data folder
    with the embedded Postgres, and no signatures with an outside one."""
    postgres_bin: Path | None = None
    """Folder of other Postgres programs than the packaged ones."""
    data_dir: Path = Path(".countersign")
    """Where the embedded Postgres and generated secrets are kept."""
    url: str | None = None
    """Where the command line finds the API; unset means `host` and `port`."""
    key: SecretStr | None = None
    """The person's key, for the command line."""
    host: str = "127.0.0.1"
    """Address that the API listens at; loopback unless you mean it."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the API listens at."""
    model: str | None = None
    """A LangChain chat model by name; unset means planning by runbooks alone."""
    model_base_url: str | None = None
    """Another endpoint for the model, such as a server of one's own that speaks the same protocol."""
    embeddings: Annotated[str, AfterValidator(embedder_name)] = "lexical"
    """What memory and knowledge are searched with besides words: `minilm`, or LangChain embeddings by name."""
    embeddings_base_url: str | None = None
    """Another endpoint for the embeddings."""
    tools_dir: Path | None = None
    """Folder of tools of one's own, beside the shipped ones."""
    policy_dir: Path | None = None
    """Folder of policies of one's own, in force together with the shipped ones."""
    runbook_dir: Path | None = None
    """Folder of runbooks of one's own, imported beside the shipped ones."""
    flows_dir: Path | None = None
    """Folder of flows of one's own, beside the shipped ones; the same for workers and for the API."""
    lanes: int = Field(default=8, ge=1, le=64)
    """How many runs one worker drives at once."""
    tenant: str = Field(default="main", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """The tenant that is founded on first start."""
    accounting_currency: Annotated[str, AfterValidator(currency_code)] = DEFAULT
    """Currency of the accounts, by its ISO 4217 code: people's limits are in it, and rules that name none."""
    budget: Bounds = Bounds()
    edge: Edge = Edge()

    @property
    def api(self) -> str:
        """Return the address of the API as clients use it."""
        return (self.url or f"http://{self.host}:{self.port}").rstrip("/")


SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None)
"""Settings that may also come from a file named by `*_FILE`, and that are never shown."""


def load(
    flags: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """Merge flags, environment, `*_FILE` secrets, `.env` and `countersign.toml`, in this order of strength.

    Raises Permanent("configuration") that names the wrong key and, where one is near, the right one.
    """
    base = folder or Path.cwd()
    values = _toml(base / TOML)
    # From weak to strong: each layer is merged over those before.
    for variables, source in (
        (_dotenv(base / DOTENV), ".env"),
        (os.environ if environ is None else environ, "the environment"),
    ):
        _merge(values, _variables({name: value for name, value in variables.items() if value}, source))
    _merge(values, {name: value for name, value in (flags or {}).items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        raise Permanent("configuration", "; ".join(_problem(item) for item in error.errors())) from None


def _toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Permanent("configuration", f"{str(path)!r} cannot be read: {error}; mend or remove it") from error
    _refuse_unknown(values, str(path))
    return values


def _dotenv(path: Path) -> dict[str, str | None]:
    """Return the variables of a file `.env`; raises Permanent("configuration") if it says one of ours twice."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise Permanent("configuration", f"{str(path)!r} cannot be read: {error}; mend or remove it") from error
    lines: dict[str, int] = {}
    for name, line in _own_lines(text):
        if name in lines:
            where = f"in lines {lines[name]} and {line}"
            raise Permanent("configuration", f"{str(path)!r} sets {name!r} twice, {where}; leave one")
        lines[name] = line
    return dotenv_values(stream=io.StringIO(text))


def _own_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield the settings in a file `.env`, each with its line."""
    for binding in parse_stream(io.StringIO(text)):
        name = (binding.key or "").upper()
        if name.startswith((PREFIX, "DATABASE_URL")):
            yield name, binding.original.line


def _variables(env: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return the settings in variables; the bare alias is the weakest, then files, then values."""
    own_values = {name[len(PREFIX) :].lower(): value for name, value in env.items() if name.upper().startswith(PREFIX)}
    files = {name: own_values.pop(name) for name in list(own_values) if name.endswith(_BY_FILE)}
    values: dict[str, Any] = {"database_url": env["DATABASE_URL"]} if "DATABASE_URL" in env else {}
    values |= {name.removesuffix(_BY_FILE): _secret(name, Path(path)) for name, path in files.items()}
    for name, value in own_values.items():
        _merge(values, _nest(name.split(SEPARATOR), value))
    _refuse_unknown(values, source, _variable_name)
    return values


def _secret(name: str, path: Path) -> str:
    if name.removesuffix(_BY_FILE) not in SECRETS:
        raise Permanent("configuration", f"{PREFIX + name.upper()!r} is no setting: only secrets are read from files")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(
            "configuration", f"{PREFIX + name.upper()!r} names {str(path)!r}, which cannot be read: {error}"
        ) from error


def _nest(path: list[str], value: str) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if len(path) > 1 else value}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        below: Any = into.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _merge(below, value)  # pyright: ignore[reportUnknownArgumentType]  # settings are validated afterwards
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownArgumentType]  # same


def _variable_name(name: str) -> str:
    return PREFIX + name.upper()


def _refuse_unknown(names: Iterable[str], source: str, spelling: Callable[[str], str] = str) -> None:
    for name in names:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"did you mean {spelling(near[0])!r}?" if near else "`countersign config show` lists the settings"
            raise Permanent("configuration", f"unknown setting {spelling(name)!r} in {source}; {hint}")


def _problem(item: Any) -> str:
    name = PREFIX + SEPARATOR.join(str(part).upper() for part in item["loc"])
    return f"setting {name!r} is not usable: {item['msg']}; change or remove it"
