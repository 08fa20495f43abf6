"""Folders of one's own at start-up: what they say is judged before anything is put in force."""

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import pytest

from app import bootstrap
from app.addresses import Addresses
from app.settings import Settings
from app.wiring import open_system
from memory.errors import Permanent
from memory.evidence import texts
from memory.governance import policy_version
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from tests.scenarios.town import KEYS
from tools.catalog import Catalog

NOWHERE = Addresses("postgresql://nobody@127.0.0.1:1/x", "postgresql://nobody@127.0.0.1:1/x", None, is_embedded=False)
RULE = """
@id("own.staging-only")
@layer("hard")
forbid (principal, action in Action::"destructive", resource)
unless { context.facts.contains("environment=staging") };
"""
DROP = '''"""A tool of one's own."""

from pydantic import BaseModel

from tools.facts import Fact
from tools.tool import Call, tool


class Place(BaseModel, extra="forbid"):
    """A place."""

    place: str


@tool("own.drop", effect="destructive", attempts=1, playbook="db.disk-full", failures=("n: n",)OPTIONS)
async def drop(args: Place, call: Call):
    """Drop what is there."""
    return {}
'''


def settings(folder: Path, *, policy: str = "", tool: str = "") -> Settings:
    for name, text in (("policies/own.cedar", policy), ("tools/own.py", tool)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Settings(policy_dir=folder / "policies", tools_dir=folder / "tools", data_dir=folder)


async def refusal(chosen: Settings) -> str:
    """Return why nothing is put in force; the database that is named is not even asked."""
    with pytest.raises(Permanent) as error:
        await bootstrap.set_up(chosen, NOWHERE, activate=True)
    assert error.value.code == "configuration"
    return str(error.value)


async def test_policies_whose_own_examples_are_false_are_not_put_in_force(tmp_path: Path) -> None:
    promise = '//! allow executor cloud.drop_table {"facts": ["environment=prod"]}'
    sentence = await refusal(settings(tmp_path, policy=f"// mine\n{promise}\n{RULE}"))
    assert "policy file 'own.cedar', line 2" in sentence
    assert "is deny:policy_denied, not allow" in sentence


def test_rules_of_ones_own_may_forbid_more_than_the_release_promises(tmp_path: Path) -> None:
    rule = '@id("own.no") @layer("hard")\nforbid (principal, action == Action::"tickets.comment", resource);'
    promise = "//! deny:policy_denied executor tickets.comment {}\n"
    chosen = settings(tmp_path, policy=promise + rule)
    assert "own.no" in bootstrap.load_policies(chosen, Catalog.discover().cards).rules


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "rule 'base.nothing-is-destroyed-in-production' looks at 'environment', of which tool 'own.drop' says"),
        (', facts=(Fact("environment", lambda args: args.place, ("test", "live")),)', "it is one of test, live"),
        (', facts=lambda args: {"environment": "prod"}', "state its facts as facts=(Fact('environment'"),
    ],
)
async def test_a_tool_that_hides_a_fact_from_a_rule_is_refused_at_start(
    tmp_path: Path, options: str, says: str
) -> None:
    assert says in await refusal(settings(tmp_path, tool=DROP.replace("OPTIONS", options)))


@pytest.mark.parametrize(
    "options",
    [', inapplicable=("environment",)', ', facts=(Fact("environment", lambda args: args.place, ("prod", "staging")),)'],
)
def test_a_tool_that_states_the_fact_or_that_it_has_none_is_taken(tmp_path: Path, options: str) -> None:
    chosen = settings(tmp_path, tool=DROP.replace("OPTIONS", options))
    cards = Catalog.discover(chosen.tools_dir).cards
    assert bootstrap.load_policies(chosen, cards).unstated == ()
    assert (cards["own.drop"].inapplicable == ("environment",)) is ("inapplicable" in options)


def test_policies_of_other_systems_are_read(tmp_path: Path) -> None:
    text = f'//! allow executor cloud.drop_table {{"facts": ["environment=staging"], "approvals": 2}}\n{RULE}'
    chosen = settings(tmp_path)
    (tmp_path / "policies/own.cedar").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert "own.staging-only" in bootstrap.load_policies(chosen, Catalog.discover().cards).rules


@pytest.mark.anyio
async def test_what_verdicts_will_rest_on_is_kept_before_anything_is_judged(urls: Urls, tmp_path: Path) -> None:
    """At set-up, and again by each process that judges, which may have other policies than those in force."""
    addresses = Addresses(urls.app, urls.owner, urls.world, is_embedded=False, worker=urls.worker)
    first = Settings.model_validate(
        {"data_dir": tmp_path, "tenant": f"t-{uuid4().hex[:10]}", "embeddings": "lexical", **KEYS}
    )
    second = first.model_copy(update={"policy_dir": settings(tmp_path, policy=RULE).policy_dir})
    await bootstrap.set_up(first, addresses)
    access = policy_version.installation(first.tenant)
    for chosen, count in ((first, 1), (second, 2)):
        async with open_system(chosen, addresses) as system:
            assert await texts.read(system.database, access, "policy", system.policy.version) == system.policy.text
            assert await texts.read(system.database, access, "cards", system.policy.cards) == system.policy.cards_text
            rows = await system.database.rows(access, "select count(*) as n from texts where kind = 'policy'")
            assert rows[0]["n"] == count


@pytest.mark.anyio
async def test_the_same_rules_stay_in_force_over_an_upgrade_and_others_wait_for_a_person(
    urls: Urls, database: Database, tmp_path: Path
) -> None:
    addresses = Addresses(urls.app, urls.owner, urls.world, is_embedded=False, worker=urls.worker)
    chosen = Settings.model_validate({"data_dir": tmp_path, "tenant": f"t-{uuid4().hex[:10]}", **KEYS})
    access = policy_version.installation(chosen.tenant)
    first = (await bootstrap.set_up(chosen, addresses)).policy
    policies = bootstrap.load_policies(chosen, Catalog.discover().cards)
    files: dict[str, str] = json.loads(policies.text)
    text = "".join(f"{name}\0{files[name]}\0" for name in sorted(files))
    await policy_version.activate(database, access, hashlib.sha256(text.encode()).hexdigest())
    assert (await bootstrap.set_up(chosen, addresses)).policy == first
    await policy_version.activate(database, access, "0" * 64)
    assert (await bootstrap.set_up(chosen, addresses)).policy == "0" * 64
