"""One effect as the journal tells it, beside its row; the API shows it, and its explanation starts from it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory.governance import stories
from memory.governance.journal import JournalEntry
from memory.governance.stories import Account, Reading
from memory.postgres.database import Connection, Database
from memory.scope import Access
from tools import effect_story, effects
from tools.effect_story import EffectStory
from tools.effects import EffectRow

# Looked at for whatever takes an effect's place or takes it back, also where its own row does not say so.
_EFFECT = f"""
select e.*, accounting_currency() as accounts, clock_timestamp() as time, coalesce(e.id, q.name) as name,
       (select j.run from journal j where j.effect = coalesce(e.id, q.name) and j.kind = 'permitted' limit 1) as home,
       array(select o.id from effects o
              where o.compensates = e.id or o.frees ? e.key or o.id = e.superseded_by
                 or o.key = e.key and o.generation = e.generation + 1) as others
  from (select %s::text as name) q left join lateral (
    select {effects.COLUMNS} from effects where id = q.name or key = q.name order by claimed desc limit 1) e on true
"""
_TERMS = ("accounts", "time", "name", "home", "others")
_MACHINERY = ("looks", "next_look", "cost")
_BLANK: Mapping[str, Any] = {
    "role": "", "user_id": "", "key": "", "generation": 0, "args": {}, "digest": "", "plan_hash": "", "attempts": 0,
    "outcome": None, "cost": {}, "sent": None, "looks": 0, "send_key": "", "next_look": None,
}  # fmt: skip
"""What is shown of an effect without a row where no entry says anything."""


@dataclass(frozen=True, slots=True)
class EffectAccount:
    """One effect as the journal tells it."""

    effect: EffectRow
    differs: Sequence[str]
    """Fields in which row and journal disagree, and places where the journal does not hold."""
    row_only: Sequence[str]
    """Fields that only the row holds."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One effect with the entries that it is told by."""

    story: EffectStory
    account: Account
    reading: Reading
    currency: str
    """That of the accounts."""
    time: datetime
    """The database's time."""

    @property
    def run(self) -> str:
        """Return the run that had it, by its row only if no entry permitted it."""
        return self.story.run or str(self.account.values["run"])

    @property
    def effect(self) -> EffectRow:
        """Return the effect itself."""
        return effects.effect_of(dict(self.account.values))

    @property
    def entries(self) -> list[JournalEntry]:
        """Return the entries of any run that name it."""
        return [entry for entry in self.reading.entries if effect_story.names(self.story.id, entry.body)]


async def show(database: Database, access: Access, effect: str) -> EffectAccount:
    """Return one effect, by its id or its natural key; raises Permanent("not_found")."""
    async with database.snapshot(access) as connection:
        telling = await read(connection, effect)
    account = telling.account
    differs = (*account.differs, *telling.reading.differences(telling.run))
    return EffectAccount(telling.effect, differs, account.row_only)


async def read(
    connection: Connection, effect: str, *, chains: Collection[str] = (), kinds: Collection[str] = ()
) -> Telling:
    """Return one effect with the entries that tell it; raises Permanent("not_found").

    With them come entries of these kinds, of its run and of further chains. The caller's transaction must see one
    snapshot.
    """
    row = await (await connection.execute(_EFFECT.encode(), [effect])).fetchone() or {}
    terms = {name: row.pop(name) for name in _TERMS}
    if row["id"] is None and terms["home"] is None:
        raise effects.unknown(effect)
    runs = [terms["home"] or row["run"], *chains]
    reading = await stories.read(connection, runs, kinds=kinds, effects=[terms["name"], *terms["others"]])
    story = effect_story.tell(terms["name"], reading.entries, terms["accounts"])
    return Telling(story, _account(row, story), reading, terms["accounts"], terms["time"])


def _account(row: Mapping[str, Any], story: EffectStory) -> Account:
    if not story.run:
        return Account(row, ("row",), tuple(row))
    if row["id"] is None:
        return Account({**_BLANK, **story.facts}, ("row",), ())
    return stories.reconcile(row, story.facts, machinery=_MACHINERY)
