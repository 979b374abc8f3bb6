"""Commands for messages that could not be read: quarantine list, show, replay, discard.

Owns their layout. The content of such a message is not trusted, so it is shown escaped.
"""

from typing import Annotated

import typer

from coordinator.cli import verbs
from coordinator.cli.answers import ShownQuarantineAct, ShownQuarantinedView
from coordinator.cli.client import DEFAULT_URL, Refusal, read
from coordinator.cli.look import Limit
from coordinator.cli.output import cell, emit, instant, listing, say, sentence, styled
from coordinator.cli.verbs import AsJson, DryRun, Reason, Url, verb
from coordinator.core.choices import QuarantineState

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="As `coordinator quarantine list` shows it.", show_default=False
    ),
]


@verb
def show_all(
    state: Annotated[
        QuarantineState | None, typer.Option("--state", help="Only messages in this state.")
    ] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List messages that could not be read, newest first.

    Each is kept whole, with the reason. An identical message is counted, not kept again.

    Examples:

        coordinator quarantine list
        coordinator quarantine list --state open --json
    """
    with verbs.service(url) as running:
        found = list(running.items("v1", "quarantine", most=limit, state=state))
    if as_json:
        emit({"items": found})
        return
    if not found:
        sentence("Nothing is in quarantine" + (f" in state {state}." if state else "."))
        return
    rows = [
        [
            q.quarantine_id,
            styled(q.state),
            instant(q.received_at),
            q.source,
            q.times_seen,
            q.reason,
        ]
        for q in (read(ShownQuarantinedView, each) for each in found)
    ]
    headings = ["id", "state", "received", "through", "seen", "reason"]
    listing(headings, rows, right=["seen"])


@verb
def show(
    quarantine_id: Id,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show one message whole, with every mistake that was found in it.

    Control characters are escaped; --json has the bytes in base64.

    Examples:

        coordinator quarantine show 3f1c0a9be2
    """
    with verbs.service(url) as running:
        document = running.get("v1", "quarantine", quarantine_id)
    if as_json:
        emit(document)
        return
    entry = read(ShownQuarantinedView, document)
    sentence(entry.reason, "bold")
    for mistake in entry.mistakes:
        sentence(f"- {mistake}")
    say("")
    for name in ("quarantine_id", "state", "source", "message_id", "times_seen", "raw_bytes"):
        sentence(f"{name}: {cell(getattr(entry, name))}")
    sentence(f"received_at: {instant(entry.received_at)}")
    if entry.settled_at:
        who, reason = entry.settled_by, entry.settled_reason
        sentence(f"{entry.state} at {instant(entry.settled_at)} by {who}: {reason}")
    say("")
    text = entry.data_text or entry.text
    if text is None:
        sentence("The message is not text; --json has its bytes in base64.")
        return
    for line in text.split("\n"):
        sentence(line)


@verb
def replay(
    quarantine_id: Id,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Process a message again, once its cause has been fixed.

    It is refused if the message is still bad, or was already replayed or discarded.

    Examples:

        coordinator quarantine replay 3f1c0a9be2 --reason "the alias is in the registry now"
        coordinator quarantine replay 3f1c0a9be2 --dry-run --reason "is it good now?"
    """
    _settle("replay", quarantine_id, reason, dry_run, url, as_json)


@verb
def discard(
    quarantine_id: Id,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Close a message without processing it; it stays readable.

    It is refused if the message was already replayed or discarded.

    Examples:

        coordinator quarantine discard 3f1c0a9be2 --reason "a health probe"
    """
    _settle("discard", quarantine_id, reason, dry_run, url, as_json)


def _settle(
    act: str, quarantine_id: str, reason: str | None, dry_run: bool, url: str, as_json: bool
) -> None:
    body = {"reason": reason, "dry_run": dry_run}
    with verbs.service(url) as running:
        try:
            document = running.post("v1", "quarantine", quarantine_id, act, body=body)
        except Refusal as refusal:
            refusal.usage = False  # a message that is still bad is not a mistake of the caller
            raise
    if as_json:
        emit(document)
        return
    word = {"replay": "replayed", "discard": "discarded"}[act]
    if dry_run:
        sentence(f"Dry run: {quarantine_id} would be {word}; nothing was changed.")
        return
    result = read(ShownQuarantineAct, document).result
    sentence(f"{quarantine_id} was {word}" + (f": {result.outcome}." if result else "."))
