"""Measure of bound names that say nothing: pronouns and participles; `python -m tests.contracts.names [FOLDER ...]`.

A name says nothing if each of its words, split at underscores and capitals, is a pronoun, a word that only points, or a
past participle. A name that only contains such a word (`is_closed`) says something, but many of them read badly, so
that share is measured too; names of tests are sentences and are left out of it.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 2.0
"""Percent of names of which every word is listed. Two anchors, procrastinate 3.10 and httpx 0.28, have 0.8 and 1.0."""
PART_LIMIT = 5.0
"""Percent of names of which any word is listed; the anchors have 4.7 and 4.2."""

_POINTERS = """
    me my mine we us our ours you your yours he him his she her hers it its they them their theirs this that these those
    one ones each every any all both some none either neither others another such same else what which who whom whose
    how why when where whether something anything nothing everything somebody anybody nobody everybody someone anyone
    everyone somewhere anywhere nowhere there here then now few many several most more less much enough by place parts
    rest whole
"""
_IRREGULAR = """
    been begun bent bitten blown bound born broken bred brought built burnt bought caught chosen crept dealt dug done
    drawn dreamt driven drunk eaten fallen felt fought found fled flown forbidden foreseen forgotten forgiven frozen got
    gotten given gone grown hung had heard hidden held kept knelt known laid leant leapt learnt left lent lain lit lost
    made meant met mistaken overtaken paid proven ridden rung risen said seen sold sent sewn shaken shone shot shown
    shrunk sung sunk sat slept slid spoken sped spelt spent spilt spun spoilt sprung stood stolen stuck stung stricken
    struck sworn swept swum swung taken taught torn told thought thrown understood undone overridden withdrawn withheld
    withstood woken worn woven wept won written rewritten
"""
"""Participles that differ from the verb; `read`, `set`, `run` and their like are verbs and nouns as well."""
_NO_PARTICIPLES = """
    bed bleed breed creed deed embed exceed feed greed heed hundred indeed kindred naked need proceed red reed sacred
    seed shed sled speed succeed ted weed
"""
LISTED = frozenset(_POINTERS.split()) | frozenset(_IRREGULAR.split())
_OTHERS = frozenset(_NO_PARTICIPLES.split())
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(slots=True)
class Share:
    """Counts of one folder."""

    names: int = 0
    empty: Counter[str] = field(default_factory=Counter[str])
    """Names of which every word is listed."""
    partly: Counter[str] = field(default_factory=Counter[str])
    """Names of which any word is listed."""

    @property
    def percent(self) -> float:
        """Return the share of names that say nothing."""
        return 100 * self.empty.total() / max(1, self.names)

    @property
    def part_percent(self) -> float:
        """Return the share of names with a listed word."""
        return 100 * self.partly.total() / max(1, self.names)


def measure(folder: Path) -> Share:
    """Return the counts over every `.py` file below a folder."""
    share = Share()
    for path in sorted(folder.rglob("*.py")):
        for name in bound_names(ast.parse(path.read_text(encoding="utf-8"))):
            words = [word.lower() for word in _WORD.findall(name)]
            listed = [is_listed(word) for word in words]
            share.names += bool(words)
            if words and all(listed):
                share.empty[name] += 1
            if any(listed) and words[0] != "test":
                share.partly[name] += 1
    return share


def is_listed(word: str) -> bool:
    """Return whether a word is a pronoun, only points, or is a past participle."""
    return word in LISTED or (word.endswith("ed") and len(word) > 3 and word not in _OTHERS)


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module binds, once per binding; those of the language's protocols are left out."""
    return (name for node in ast.walk(tree) for name in _bound(node) if not name.startswith("__"))


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.alias(asname=str(name)):
            yield name
        case _:
            pass


def main(folders: list[str]) -> int:
    """Print the share of each folder with its most frequent names; return 1 if one is over a limit."""
    over = False
    for folder in folders:
        share = measure(Path(folder))
        frequent = ", ".join(f"{name} {count}" for name, count in (share.empty or share.partly).most_common(12))
        print(f"{folder}: {share.percent:.2f} % of {share.names}, in part {share.part_percent:.2f} %: {frequent}")  # noqa: T201  # this is a command
        over |= share.percent > LIMIT or share.part_percent > PART_LIMIT
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["app", "graphs", "tools", "memory", "tests"]))
