"""What the probes of candidate runbooks show, and how people are told; called by the planner."""

from collections.abc import Mapping, Sequence

from graphs.planning import runbooks
from graphs.planning.candidates import RunbookCandidate
from graphs.state import State
from tools.action import NO_ANSWER, Json

_WORDS = {True: "its check found something", False: "its check found nothing", None: "its check left it open"}


def result(candidate: RunbookCandidate, state: State) -> Mapping[str, Json] | None:
    """Return what the candidate's probe returned; None if it was not made or failed."""
    summary = state.get("results", {}).get(candidate.probe)
    return None if summary is None or summary.get("skipped") is True or _failure(summary) else summary


def sight(candidate: RunbookCandidate, state: State) -> bool | None:
    """Return whether the probe shows the runbook's situation, or None if it leaves that open."""
    summary = result(candidate, state)
    if summary is None or own_question(candidate, state):
        return None
    condition = candidate.runbook.probe.condition
    answer = runbooks.evaluate(candidate.runbook, condition, candidate.inputs(state, summary), summary)
    return None if answer.reason else answer.is_true


def own_question(candidate: RunbookCandidate, state: State) -> str:
    """Return what the runbook wants asked when the probe shows that the request can mean several things."""
    ask, summary = candidate.runbook.probe.ask, result(candidate, state)
    if ask is None or summary is None:
        return ""
    answer = runbooks.evaluate(candidate.runbook, ask.when, candidate.inputs(state, summary), summary)
    return ask.text if answer.is_true else ""


def silent_service(candidate: RunbookCandidate, state: State) -> str:
    """Return the name of the service that did not answer the candidate's probe; empty if it did."""
    failure = _failure(state.get("results", {}).get(candidate.probe) or {})
    return candidate.runbook.probe.tool.partition(".")[0] if failure.startswith(NO_ANSWER) else ""


def words(candidate: RunbookCandidate, state: State) -> str:
    """Return what people read of the candidate's probe."""
    if service := silent_service(candidate, state):
        return f"{service} did not answer its check"
    if failure := _failure(state.get("results", {}).get(candidate.probe) or {}):
        return f"its check failed ({failure})"
    return _WORDS[sight(candidate, state)]


def silence(options: Sequence[RunbookCandidate], state: State) -> str:
    """Return the question that asks to try again, if a service did not answer the probe of one of the best; or ""."""
    services = {name: None for option in options if option.equal and (name := silent_service(option, state))}
    if not services:
        return ""
    names = " and ".join(services)
    titles = "; ".join(f"{option.document.title}: {words(option, state)}" for option in options if option.probe)
    beginning = f"{names} did not answer, so nothing is known and nothing was done ({titles})"
    return f"{beginning}. Try again? Answer yes, or say more."


def probed_ids(options: Sequence[RunbookCandidate]) -> list[str]:
    """Return the runbooks whose probes were made."""
    return [option.runbook.id for option in options if option.probe]


def _failure(summary: Mapping[str, Json]) -> str:
    """Return the message of a probe that failed, as the cursor leaves it; empty for a result."""
    message = summary.get("message")
    return message if set(summary) == {"failed", "message"} and isinstance(message, str) else ""
