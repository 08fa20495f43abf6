"""Set-up of a database: migrations, people, policies and runbooks; called at start-up and by `migrate`."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.addresses import Addresses
from app.settings import Settings
from graphs.planning import runbooks
from memory.errors import Permanent
from memory.evidence import rows, texts
from memory.governance import limits, policy_version, principals
from memory.governance.principals import NewKey
from memory.knowledge import versions
from memory.postgres.database import Database
from memory.postgres.migrate import migrate
from memory.postgres.schema_version import missing
from memory.postgres.signing import admit
from memory.scope import Principal
from tools import policy, policy_examples
from tools.catalog import Catalog, ToolCard
from tools.policy import PolicySet

_LOG = logging.getLogger(__name__)
_HOUSE = Path(__file__).parents[1]
FUNCTIONS = (_HOUSE / "memory", _HOUSE / "tools")
"""Folders below which SQL functions stand, each beside the module that calls it."""
ALONE, JOINT, PETTY = 1_000_000, 500_000_000, 50_000
"""Minor units of the accounting currency: what one of finance may approve alone (where the shipped policies begin to
ask two), what two may together, and what operations may alone."""
_PEOPLE: Mapping[str, tuple[frozenset[str], int, int]] = {
    "alice": (frozenset({"support"}), 0, 0),
    "bob": (frozenset({"finance"}), ALONE, JOINT),
    "carol": (frozenset({"finance"}), ALONE, JOINT),
    "dave": (frozenset({"ops"}), PETTY, PETTY),
    "admin": (frozenset({"admin"}), 0, 0),
}


@dataclass(frozen=True, slots=True)
class SetUp:
    """Result of a set-up, for people to read."""

    migrations: tuple[str, ...]
    tenant_is_new: bool
    policy: str
    voided: tuple[str, ...]
    """Runs whose open questions the policy change voided."""


async def set_up(settings: Settings, addresses: Addresses, *, activate: bool = False) -> SetUp:
    """Bring the database to the present shape and fill in what a first start needs; repeats harmlessly.

    `activate` puts the folder's policies in force even if others are, which is a deployment step of its own.
    """
    # Before anything is changed: what these folders hold may be wrong.
    policies = load_policies(settings, Catalog.discover(settings.tools_dir).cards)
    migrations = await migrate(addresses.owner_url, FUNCTIONS)
    await rows.adopt(addresses.owner_url)
    await admit(addresses.owner_url, addresses.app)
    is_new = await principals.create_tenant(addresses.owner_url, settings.tenant, people(settings.tenant))
    await limits.account_in(addresses.owner_url, settings.tenant, settings.accounting_currency)
    database = await Database.open(addresses.app, size=2)
    try:
        return SetUp(migrations, is_new, *await _fill(settings, database, policies, activate=activate))
    finally:
        await database.close()


async def check(settings: Settings, database: Database, version: str) -> None:
    """Refuse to start on a database that is not ready for this release; raises Permanent("configuration")."""
    async with database.system() as connection:
        lacking = await missing(connection, FUNCTIONS)
    if lacking:
        raise Permanent(
            "configuration", f"the database lacks {', '.join(lacking)}; run `countersign migrate` with the owner's URL"
        )
    installation = policy_version.installation(settings.tenant)
    await limits.check(database, installation, settings.accounting_currency)
    active = await policy_version.policy(database, installation)
    if active is None:
        raise Permanent("configuration", f"tenant {settings.tenant!r} has no policy yet; run `countersign migrate`")
    if active != version:
        _LOG.warning("policy %s is in force, this process has %s: its claims are refused", active[:12], version[:12])


async def first_key(
    settings: Settings, addresses: Addresses, person: str, *, label: str = "first key", days: int | None = None
) -> NewKey:
    """Make a key with the owner's authority, before anybody has one; without `days` it never expires."""
    return await principals.bootstrap(addresses.owner_url, settings.tenant, person, label, days)


def people(tenant: str) -> list[Principal]:
    """Return the people of a new tenant: a requester, two approvers, an approver of small sums, an administrator."""
    return [Principal(tenant, name, groups, alone, joint) for name, (groups, alone, joint) in _PEOPLE.items()]


def own_and_shipped(shipped: Path, own: Path | None) -> tuple[Path, ...]:
    """Return the shipped folder and, if there is one, the folder of one's own."""
    return (shipped, own) if own else (shipped,)


def load_policies(settings: Settings, cards: Mapping[str, ToolCard]) -> PolicySet:
    """Return the policies of the release together with those of one's own, once the examples of both hold.

    Rules of one's own may forbid more than the release does: its examples are judged by its own rules alone.
    """
    shipped = PolicySet.load(cards, policy.FOLDER, accounting=settings.accounting_currency)
    policy_examples.check(shipped, policy.FOLDER)
    if settings.policy_dir is None:
        return shipped
    folders = own_and_shipped(policy.FOLDER, settings.policy_dir)
    policies = PolicySet.load(cards, *folders, accounting=settings.accounting_currency)
    policy_examples.check(policies, settings.policy_dir)
    return policies


async def keep_texts(settings: Settings, database: Database, policies: PolicySet) -> None:
    """Keep what verdicts will rest on, before anything is judged: entries name these texts by their hashes."""
    access = policy_version.installation(settings.tenant)
    await texts.keep(database, access, "policy", policies.text)
    await texts.keep(database, access, "cards", policies.cards_text)


async def _fill(
    settings: Settings, database: Database, policies: PolicySet, *, activate: bool
) -> tuple[str, tuple[str, ...]]:
    access, version = policy_version.installation(settings.tenant), policies.version
    await keep_texts(settings, database, policies)
    documents = runbooks.load(*own_and_shipped(runbooks.FOLDER, settings.runbook_dir))
    await versions.import_items(database, access, map(runbooks.item, documents))
    active = await policy_version.policy(database, access)
    # Another release's policies stay in force until a person migrates: starting a process must not change rules.
    if active in (None, _former_version(policies)) or (activate and active != version):
        return version, tuple(await policy_version.activate(database, access, version))
    return active, ()


def _former_version(policies: PolicySet) -> str:
    """Return how the release before called the same files: they get their new name without being other rules."""
    files: dict[str, str] = json.loads(policies.text)
    return hashlib.sha256("".join(f"{name}\0{text}\0" for name, text in sorted(files.items())).encode()).hexdigest()
