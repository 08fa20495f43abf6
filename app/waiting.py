"""Forecast for everything that waits for people: what this release, its rules and its knowledge would do to it.

Called by `doctor --waiting`, and by `migrate` before it acts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from app import bootstrap
from app.settings import Settings
from graphs.catalog import FlowCatalog
from graphs.planning import runbooks
from graphs.planning.plan import Plan
from memory.errors import ControlError
from memory.governance import open_questions
from memory.governance.open_questions import OpenQuestion
from tools import judgement
from tools.action import Action, Decision, Pin
from tools.admission import admit
from tools.catalog import Catalog
from tools.money import Money
from tools.policy import PolicySet

Fate = Literal["stays", "asked again", "cannot go on"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of one open question, and why."""

    tenant: str
    run: str
    approval: str | None
    requester: str
    step: str
    expires: datetime | None
    fate: Fate
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """All of this release that an open question can rest on."""

    tenant: str
    """The tenant whose policies and runbooks `migrate` puts in force; those of others stay."""
    catalog: Catalog
    policies: PolicySet
    flows: frozenset[str]
    runbooks: Mapping[str, int]
    """Shipped and own runbooks, and their versions."""

    @classmethod
    def load(cls, settings: Settings) -> "Release":
        """Return what this release brings; raises Permanent("configuration") for files that cannot be used."""
        catalog = Catalog.discover(settings.tools_dir)
        documents = runbooks.load(*bootstrap.own_and_shipped(runbooks.FOLDER, settings.runbook_dir))
        return cls(
            settings.tenant,
            catalog,
            bootstrap.load_policies(settings, catalog.cards),
            frozenset(FlowCatalog.discover(settings.flows_dir).names),
            {document.runbook.id: document.runbook.version for document in documents},
        )


async def forecast(owner_url: str, release: Release) -> list[Forecast]:
    """Return what becomes of every open question when this release is migrated to; changes nothing."""
    return [_forecast(question, release) for question in await open_questions.ls(owner_url)]


def _forecast(question: OpenQuestion, release: Release) -> Forecast:
    obstacles, changes = [*_obstacles(question, release)], [*_changes(question, release)]
    fate: Fate = "cannot go on" if obstacles else "asked again" if changes else "stays"
    return Forecast(
        question.tenant,
        question.run,
        question.approval,
        question.requester,
        question.step,
        question.expires,
        fate,
        (*obstacles, *changes),
    )


def _obstacles(question: OpenQuestion, release: Release) -> Iterator[str]:
    """Yield why the run could not go on after an answer."""
    if question.flow not in release.flows:
        yield f"no flow {question.flow!r} is here to lead the run; it waits until there is one again"
    for tool in sorted({*(question.items or {}).values()} - release.catalog.cards.keys()):
        yield f"tool {tool!r} is gone (unknown_tool)"
    if question.plan is not None:
        try:
            Plan.model_validate_json(json.dumps(question.plan))
        except ValidationError as error:
            yield f"its plan cannot be read (plan_invalid): {error.errors()[0]['msg']}"
    if verdict := _new_verdict(question, release):
        yield from verdict


def _changes(question: OpenQuestion, release: Release) -> Iterator[str]:
    """Yield why people would have to be asked again."""
    if question.approval is None:
        return
    is_ours = question.tenant == release.tenant
    if is_ours and question.policy != release.policies.version:
        old, new = (question.policy or "")[:12], release.policies.version[:12]
        yield f"policy {new} comes into force; it was asked under {old} (stale_policy){_new_demand(question, release)}"
    for pin in question.pins:
        version = question.versions.get(pin["id"], 0)
        coming = release.runbooks.get(pin["id"], 0) if is_ours else 0
        if (current := max(version, coming)) != pin["version"]:
            yield f"its plan rests on {pin['id']!r} version {pin['version']}, now {current} (stale_knowledge)"
    yield from _changed_cards(question, release)


def _changed_cards(question: OpenQuestion, release: Release) -> Iterator[str]:
    """Yield which tool is asked about with a card that is another in this release."""
    if not question.proposed or question.kind == "audit":
        return
    tool = str(question.proposed["tool"])
    card = release.catalog.cards.get(tool)
    if card is None or _is_same_action(question, question.proposed, release.catalog):
        return
    schema = (question.held or {}).get("schema")
    if schema is not None and schema != card.schema_hash:
        yield f"tool {tool!r} takes other arguments (approval_stale)"
    elif schema is None or question.held is None or "undo" not in question.step:
        yield f"tool {tool!r} makes another action of the same arguments: its card is another (approval_stale)"


def _is_same_action(question: OpenQuestion, proposed: Mapping[str, Any], catalog: Catalog) -> bool:
    """Return whether this release makes the very action of the entry that asked."""
    pins = tuple(Pin(pin["id"], pin["version"]) for pin in question.pins)
    action = Action(
        question.run, proposed["step"], proposed["role"], proposed["tool"], proposed["args"], proposed["plan"],
        proposed["user"], pins,
    )  # fmt: skip
    sums = [None, Money(question.exposure, question.currency)] if question.currency else [None]
    try:
        digests = {
            admit(replace(action, exposure=exposure), catalog).digest(question.policy or "") for exposure in sums
        }
    except ControlError:
        return False
    return proposed["digest"] in digests


def _new_verdict(question: OpenQuestion, release: Release) -> list[str]:
    """Return the refusal of the coming rules, if they refuse what is asked."""
    decision = _decide(question, release)
    if decision is None or decision.verdict != "deny":
        return []
    return [f"the coming rules deny it ({decision.code}: {', '.join(decision.rules) or 'no rule permits it'})"]


def _new_demand(question: OpenQuestion, release: Release) -> str:
    """Return what the coming rules demand of people, where it is another demand."""
    decision, held = _decide(question, release), question.held or {}
    if decision is None or decision.verdict == "deny":
        return ""
    before = (held.get("need_alone", held.get("need")), sorted(held.get("groups") or ()))
    after = (decision.need, sorted(decision.groups))
    return "" if before == after else f"; it needed {_demand(*before)}, and will need {_demand(*after)}"


def _decide(question: OpenQuestion, release: Release) -> Decision | None:
    """Return the coming rules' decision about the recorded facts; None where there are none."""
    held = question.held or {}
    if question.tenant != release.tenant or "facts" not in held or held["tool"] not in release.catalog.cards:
        return None
    try:
        facts = judgement.facts_of(held["facts"])
    except ValueError:
        return None
    return release.policies.decide(held["role"], held["tool"], facts)


def _demand(need: object, groups: Sequence[str]) -> str:
    return f"{need} of {', '.join(groups) or 'anybody'}" if need else "nobody"
