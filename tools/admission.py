"""Admission of an action: its tool, valid arguments, keys, hashes and facts for policy; called by the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from memory.errors import Permanent
from tools import arguments, facts
from tools.action import Action, Json, canonical, digest, digest_of_lines, has_long_number
from tools.amounts import amount
from tools.catalog import Catalog
from tools.money import Money
from tools.policy import Facts
from tools.tool import SliceArgument, Tool

_REFUSALS = (ValidationError, TypeError, ValueError, LookupError, AttributeError)
"""What models, keys and facts of tools raise for arguments that they do not take."""


@dataclass(frozen=True, slots=True)
class AdmittedAction:
    """An action whose arguments are valid and normalised; nothing has been decided yet."""

    action: Action
    tool: Tool
    arguments: BaseModel
    args: Mapping[str, Json]
    """The normalised arguments, as they are journaled and digested."""
    args_hash: str
    """Hash of the request as the business service receives it: lists and slices by count and digest."""
    call_hash: str
    """Equal for equal calls, whatever run or plan they belong to."""
    key: str
    """Idempotency key of the effect; of a tool without a natural key the claim adds the run whose request it is."""
    facts: Facts
    amount: Money | None
    """Business amount of this action; None if it is not about money."""
    exposure: Money | None
    """Sum of the amounts that are decided together with this one."""

    def digest(self, policy: str) -> str:
        """Return the digest that an approval binds; it does not cover an action that differs in any of these values."""
        action = self.action
        return digest(
            {
                "tool": action.tool,
                "schema": schema_hash(self.tool),
                "target": self.facts.target,
                "args": self.args,
                "user": action.user,
                "role": action.role,
                "run": action.run,
                "step": action.step,
                "plan": action.plan_hash,
                "policy": policy,
                "knowledge": [[pin.id, pin.version] for pin in sorted(action.pins, key=lambda pin: pin.id)],
                "exposure": _as_json(action.exposure),
                "amount": _as_json(self.amount),
                "compensates": action.compensates,
            }
        )


def admit(action: Action, catalog: Catalog) -> AdmittedAction:
    """Check an action and derive its keys and facts.

    Raises Permanent unknown_tool, invalid_arguments or agent_scope.
    """
    tool = catalog.get(action.tool)
    if tool.effect == "read" and action.role not in tool.roles:
        raise Permanent("agent_scope", f"role {action.role!r} may not use {action.tool!r}")
    try:
        return _derive(action, tool, arguments.parse(tool.arguments, action.args))
    except _REFUSALS as error:
        raise Permanent(
            "invalid_arguments", f"{action.tool!r} refuses its arguments: {_first_problem(error)}"
        ) from error


def refusals(tool: Tool, args: Mapping[str, Json]) -> list[str]:
    """Return why a call with these arguments would not be admitted whoever makes it."""
    problems = [f"{place or 'arguments'}: {sentence}" for place, sentence in arguments.problems(tool.arguments, args)]
    if problems:
        return problems
    try:
        _derive(Action("", "", "executor", tool.name, args, "", ""), tool, arguments.parse(tool.arguments, args))
    except _REFUSALS as error:
        return [_first_problem(error)]
    return []


def _derive(action: Action, tool: Tool, model: BaseModel) -> AdmittedAction:
    args = cast(dict[str, Json], model.model_dump(mode="json"))
    if "\\u0000" in canonical(args):
        raise ValueError("text with a NUL character can be neither recorded nor compared")
    if has_long_number(args):
        raise ValueError("a number beyond 64 bits can be neither summed nor compared with a limit")
    summaries = {name: _summary(value) for name, value in args.items()}
    args_hash = digest(summaries)
    target = _target(tool, model)
    call_hash = digest({"tool": tool.name, "args": summaries, "target": target})
    key = _key(tool, model, args_hash)
    worth = amount(tool.name, tool.amount, model)
    exposure = _exposure(action.exposure, worth)
    return AdmittedAction(
        action,
        tool,
        model,
        args,
        args_hash,
        call_hash,
        key,
        _facts(action, tool, model, target=target, amount=worth, exposure=exposure),
        worth,
        exposure,
    )


def reversed_keys(admission: AdmittedAction, catalog: Catalog) -> list[Json]:
    """Return the keys that an action frees once it is done: of tools that it takes back, and of the one that takes it
    back, with its arguments.
    """
    keys: list[Json] = []
    for name, card in catalog.cards.items():
        if card.compensate != admission.tool.name and name != admission.tool.compensate:
            continue
        tool = catalog.get(name)
        try:
            model = arguments.parse(tool.arguments, admission.args)
            keys.append({"key": _key(tool, model, admission.args_hash), "per_run": tool.key is None})
        except _REFUSALS:
            continue
    return keys


def _key(tool: Tool, model: BaseModel, args_hash: str) -> str:
    return tool.key(model) if tool.key else f"{tool.name}:{_target(tool, model)}:{args_hash}"


def _target(tool: Tool, model: BaseModel) -> str:
    return tool.target(model) if tool.target else "none/none"


def _exposure(sum: Money | None, amount: Money | None) -> Money | None:
    """Return the larger of what is decided together and this one's amount; raises ValueError if currencies differ."""
    if sum is None or amount is None:
        return sum or amount
    if sum.currency != amount.currency:
        raise ValueError(f"{amount} is decided together with {sum}; amounts of two currencies have no sum")
    return max(sum, amount, key=lambda money: money.minor)


def _as_json(amount: Money | None) -> Json:
    return None if amount is None else [amount.minor, amount.currency]


@lru_cache(maxsize=1024)
def schema_hash(tool: Tool) -> str:
    """Return the hash of a tool's argument schema."""
    # A tool never changes, and deriving its schema costs more than everything else here.
    return tool.schema_hash


def _facts(
    action: Action, tool: Tool, model: BaseModel, *, target: str, amount: Money | None, exposure: Money | None
) -> Facts:
    return Facts(
        user=action.user,
        amount=_minor(amount),
        exposure=_minor(exposure),
        currency=exposure.currency if exposure else "",
        tainted=action.is_tainted,
        reversible=tool.is_reversible,
        target=target,
        facts=facts.state(tool.facts, model),
    )


def _minor(amount: Money | None) -> int:
    return amount.minor if amount else 0


def _summary(value: Json) -> Json:
    if isinstance(value, Mapping) and set(value) == set(SliceArgument.model_fields):
        return {"count": value["count"], "digest": value["digest"]}
    if isinstance(value, list | tuple):
        items = cast(list[Json], value)
        return {"count": len(items), "digest": digest_of_lines(canonical(item) for item in items)}
    return value


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'arguments'}: {first['msg']}"
