"""Tree of commands, of which only those that a command line names are imported; `app.cli` runs it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class Branch(NamedTuple):
    """Place of a command or of a group of them, and what the list of all says of it."""

    module: str
    attribute: str
    help: str


BRANCHES: Mapping[str, Branch] = {
    "up": Branch("serve", "up", "Start everything, stay up, and print addresses, keys and something to say."),
    "demo": Branch("serve", "demo", "Play the main job from end to end and prove what happened."),
    "serve": Branch("serve", "serve", "Serve the API, and lead runs in the same process."),
    "worker": Branch("serve", "worker", "Lead runs."),
    "world": Branch("serve", "world", "Serve the demo business that agents repair."),
    "migrate": Branch("serve", "migrate", "Bring the database to this release's shape."),
    "doctor": Branch("serve", "doctor", "Check python, database, roles, migrations, ports, data folder and clock."),
    "chat": Branch("runs", "chat", "Say what is wrong and watch it being repaired."),
    "explain": Branch("effects", "explain", "Tell why an effect happened."),
    "receipt": Branch("effects", "receipt", "Prove one effect to a stranger."),
    "kill": Branch("kill", "kill", "Stop everything, or a run, agent role, tool or person."),
    "unkill": Branch("kill", "unkill", "Release the stop switch."),
    "runs": Branch("runs", "runs", "Look at runs, cancel or resume them."),
    "approvals": Branch("approvals", "app", "See what people are asked, and decide."),
    "effects": Branch("effects", "effects", "What agents changed."),
    "journal": Branch("journal", "journal", "What happened, in an order that cannot be changed unseen."),
    "memory": Branch("memory", "memory", "What is remembered for you."),
    "transcripts": Branch("transcripts", "transcripts", "What your finished runs went through, archived."),
    "knowledge": Branch("knowledge", "knowledge", "What plans rest on."),
    "keys": Branch("keys", "keys", "Who may come in; for administrators."),
    "limits": Branch("limits", "limits", "Up to what sums people may approve."),
    "tools": Branch("tools", "tools", "What agents can do."),
    "config": Branch("config", "config", "How this installation is set up."),
}


# Names in full: whoever looks for imports finds them.
_MODULES: Mapping[str, Callable[[], Any]] = {
    "serve": lambda: import_module("app.commands.serve"),
    "runs": lambda: import_module("app.commands.runs"),
    "effects": lambda: import_module("app.commands.effects"),
    "kill": lambda: import_module("app.commands.kill"),
    "approvals": lambda: import_module("app.commands.approvals"),
    "journal": lambda: import_module("app.commands.journal"),
    "memory": lambda: import_module("app.commands.memory"),
    "transcripts": lambda: import_module("app.commands.transcripts"),
    "knowledge": lambda: import_module("app.commands.knowledge"),
    "keys": lambda: import_module("app.commands.keys"),
    "limits": lambda: import_module("app.commands.limits"),
    "tools": lambda: import_module("app.commands.tools"),
    "config": lambda: import_module("app.commands.config"),
}


class CommandTree(TyperGroup):
    """The root of all commands; one is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*self.commands, *BRANCHES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, imported now if it was not before."""
        if cmd_name in BRANCHES and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, branch.help) for name, branch in BRANCHES.items()])


def _load(name: str) -> Any:
    branch = BRANCHES[name]
    item = getattr(_MODULES[branch.module](), branch.attribute)
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    # With a callback it is a group whatever it holds.
    holder.callback()(_nothing)
    if isinstance(item, typer.Typer):
        holder.add_typer(item, name=name)
    else:
        holder.command(name)(item)
    group: Any = typer.main.get_command(holder)
    return group.commands[name]


def _nothing() -> None:
    """Do nothing before a command."""
