"""The reference page of the settings, generated from the settings.

Owns ``docs/reference-settings.md``: ``python -m coordinator.cli.settings_reference >
docs/reference-settings.md`` generates it, and a test compares the two. It adds nothing to the
descriptions of the settings.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from coordinator.settings import DEFAULT_FILE, FILE_VARIABLE, Settings

HEAD = f"""\
# Settings

Generated from the settings:
`python -m coordinator.cli.settings_reference > docs/reference-settings.md`.

What a deployment can configure. An option of `coordinator serve` takes precedence over the variable, the
variable over the settings file, and the file over the default. The settings file is TOML:
`{DEFAULT_FILE}` in the working directory, if it exists, or the file that `{FILE_VARIABLE}` names, which
must exist. An unknown key is a mistake. An empty variable counts as not set.

```toml
store = "firestore:my-project"
public_url = "https://coordinator.example.com"
log_level = "info"
```

[Notices](notices.md) describes what is sent to people, and how. Variables that only the command line
reads are listed with [its commands](reference-cli.md).

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
