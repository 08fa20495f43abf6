"""References of settings and commands, made from the code: `python -m tests.contracts.references` writes them."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from app.cli import app
from app.edge import Edge
from app.settings import PREFIX, Bounds, Settings
from tests.contracts.measures import ROOT

SETTINGS, COMMANDS = ROOT / "docs" / "settings.md", ROOT / "docs" / "commands.md"
_CODES = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for an approval, 4 denied by policy, 5 budget stopped, 6 journal "
    "verification failed, 69 service unavailable, 130 interrupted. `--debug` anywhere shows tracebacks."
)


def settings_page() -> str:
    """Return the page of settings as it should be."""
    rows = [*_rows(Settings, ""), *_rows(Bounds, "BUDGET__"), *_rows(Edge, "EDGE__")]
    return "\n".join(
        [
            "# Settings",
            "",
            "Written from `app/settings.py`. Flags win over the environment, the environment over `.env`, that over",
            "`countersign.toml`; unknown names are errors. A secret may come from a file: add `_FILE` to its name.",
            "",
            "| name | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def commands_page() -> str:
    """Return the page of commands as it should be."""
    lines = ["# Commands", "", "Written from the command line itself.", "", _CODES, ""]
    root: Any = typer.main.get_command(app)
    for name, command in _commands(root, "countersign"):
        lines += [f"## `{name}`", "", _sentence(command.help), ""]
        for parameter in command.params:
            if not getattr(parameter, "hidden", False) and parameter.name != "help":
                lines.append(f"- {_usage(parameter)}")
        lines += [""] if lines[-1] else []
    return "\n".join(lines)


def _rows(model: Any, path: str) -> Iterator[str]:
    texts = _field_texts(model)
    for name, field in model.model_fields.items():
        if name in ("budget", "edge"):
            continue
        default = "" if field.default in (None, "") else f"`{field.default}`"
        yield f"| `{PREFIX}{path}{name.upper()}` | {default} | {texts.get(name, '')} |"


def _field_texts(model: Any) -> dict[str, str]:
    """Return the string below each field of a model, or what its validation says."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    field = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            field = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and field:
            texts[field] = _sentence(str(node.value.value))
    return texts


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in sorted(group.list_commands(None)):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _usage(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts) if parameter.param_type_name == "option" else ""
    name = names or f"`{parameter.name.upper()}`"
    text = _sentence(getattr(parameter, "help", None))
    return f"{name}: {text}" if text else name


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write both pages."""
    for path, text in ((SETTINGS, settings_page()), (COMMANDS, commands_page())):
        Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
