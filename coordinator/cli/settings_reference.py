"""The reference page of the settings, written from the settings themselves.

Owns ``docs/reference-settings.md``: ``python -m coordinator.cli.settings_reference >
docs/reference-settings.md`` writes it anew, and a test compares the two. Refuses to say what a
setting's own description does not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from coordinator.settings import DEFAULT_FILE, FILE_VARIABLE, Settings

HEAD = f"""\
# Settings

Written from the settings themselves:
`python -m coordinator.cli.settings_reference > docs/reference-settings.md`.

What a deployment can choose. An option of `coordinator serve` comes before the variable, the
variable before the settings file, the file before the default. The settings file is TOML:
`{DEFAULT_FILE}` in the working directory, where it is there, or the file that `{FILE_VARIABLE}`
names, which must be there. Its keys are those below; an unknown key is a mistake. An empty variable
counts as not set.

```toml
store = "firestore:my-project"
public_url = "https://coordinator.example.com"
log_level = "info"
```

What reaches people and by which way: [notices](notices.md). Variables that only the command line
reads stand with [its verbs](reference-cli.md).

| key | variable | default | means |
| --- | --- | --- | --- |
"""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(
        f"| `{key}` | `COORDINATOR_{key.upper()}` | {_default(field.default)} | "
        f"{_meaning(field)} |\n"
        for key, field in Settings.model_fields.items()
    )


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _meaning(field: Any) -> str:
    words = str(field.description).replace("|", "\\|")
    if get_origin(field.annotation) is Literal:
        words += " One of " + ", ".join(f"`{word}`" for word in get_args(field.annotation)) + "."
    return words


if __name__ == "__main__":
    sys.stdout.write(render())
