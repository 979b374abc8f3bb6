"""The reference page of the command line, generated from the commands.

Owns ``docs/reference-cli.md``: ``python -m coordinator.cli.reference > docs/reference-cli.md``
generates it, and a test compares the two. It adds nothing to the help of the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

HEAD = """\
# Command line

Generated from the commands: `python -m coordinator.cli.reference > docs/reference-cli.md`.
`coordinator COMMAND --help` prints the same in the terminal.

## What all commands share

Commands talk to a running service over HTTP. These work without one: `serve`, `demo`, `scenario run`,
`store copy`, `registry check`, `registry show --file`, `registry diff --against`, and `doctor`, which
then reports that the service is out of reach.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | refused, or not ready; the message on stderr says why. Also mistakes inside a file: an invalid registry, rejected events |
| 2 | usage: an option or argument is wrong (also if the service finds it, 422), `--reason` is missing, or a file cannot be read |
| 3 | the service is out of reach; the message has its address and how to start one |

With `--json`, stdout has one JSON document and nothing else; progress and errors go to stderr. A failure
is `{"error": {…}}`. For a refusal it contains the full answer of the service, such as the verdict of a
trigger that is not ready. For `serve`, `--json` means log lines as JSON.

| variable | means |
| --- | --- |
| `COORDINATOR_URL` | the service, as `--url` |
| `COORDINATOR_TOKEN` | sent as a bearer token, if a proxy in front of the service requires one |
| `COORDINATOR_REGISTRY` | the registry file; shell completion reads it too |
| `NO_COLOR` | no colours; there are none either if stdout is not a terminal |

`coordinator --install-completion` lets the shell complete commands, options, and the names of processors
and tables from the registry file. Control characters in text from events or from the service are
escaped.
"""


def render() -> str:
    """The whole page."""
    from typer.main import get_command

    from coordinator.cli import app

    parts = [HEAD]
    for words, command in _commands(get_command(app), ()):
        parts.append(_section(words, command))
    return "\n".join(parts)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if not children:
        yield words, command
        return
    for name, child in children.items():
        yield from _commands(child, (*words, name))


def _section(words: tuple[str, ...], command: Any) -> str:
    text, _, examples = cleandoc(command.help or "").partition("Examples:")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(["coordinator", *words, *(_shown_argument(a) for a in arguments)])
    lines = [f"## {' '.join(words)}", "", text.strip(), "", "```sh"]
    lines += [line.strip() for line in examples.strip().splitlines()]
    lines += ["```", "", f"Usage: `{usage}`", ""]
    if arguments:
        lines += ["| argument | means |", "| --- | --- |"]
        lines += [f"| `{_shown_argument(a)}` | {_cell(_help(a))} |" for a in arguments]
        lines.append("")
    lines += ["| option | means |", "| --- | --- |"]
    lines += [f"| {_names(o)} | {_cell(_help(o))} |" for o in options]
    return "\n".join([*lines, ""])


def _shown_argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    words = " ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return words
    choices = getattr(option.type_descriptor, "choices", None)
    if choices:
        return f"{words} " + ", ".join(f"`{_word(c)}`" for c in choices)
    return f"{words} {option.metavar or 'NUMBER'}"


def _word(choice: Any) -> str:
    return str(getattr(choice, "value", choice))


def _help(parameter: Any) -> str:
    words = str(parameter.help or "")
    default = parameter.default
    if isinstance(default, str | int) and not isinstance(default, bool):
        words += f" Default: `{default}`."
    if parameter.param_type_name == "option" and parameter.multiple:
        words += " Repeatable."
    if parameter.envvar:
        words += f" Also `{parameter.envvar}`."
    return words


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(render())
