"""``/openapi.json`` and ``/docs``: the reference, complete and self-contained.

Owns what FastAPI does not know: the push endpoint and the body of ``POST /v1/events``, which are
read by ``wire``, and the shape of errors. The page is drawn from the same document, in plain HTML
without scripts, and fetches nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from coordinator.web.bodies import Problem
from coordinator.web.problems import CODES, MEDIA_TYPE, RETRY_AFTER_SECONDS
from coordinator.wire import LoadEvent, PushEnvelope, RunReport

REF = "#/components/schemas/{model}"
TITLE = "Coordinator"
DESCRIPTION = (
    "Starts each processor of a data pipeline exactly when its inputs for a game date are there, "
    "and explains why or why not. Instants are RFC 3339 in UTC. Every error is "
    "`application/problem+json` (RFC 9457) with a `detail` that says what to do."
)
TAGS = [
    {"name": "events", "description": "What was loaded, and what runners report by message."},
    {"name": "status", "description": "What is known, decided, and why. Nothing here changes."},
    {"name": "runs", "description": "For runners: claim a run, keep its lease, report its end."},
    {"name": "operators", "description": "For people. Each act is audited and can be rehearsed."},
    {"name": "service", "description": "Whether the service itself is well."},
]
_WORDS = {
    400: "The body is not JSON.",
    403: "The request comes from a page of another origin.",
    404: "Nothing has that name.",
    409: "A rule said no; `code` and `detail` say which.",
    413: "The body is over the limit of 4 MiB.",
    421: "The request names another host than this open service answers to.",
    422: "Something in the request is bad; `errors` names every mistake.",
    500: "Not the caller's fault; it was logged.",
    503: "The store is out of reach; nothing was changed. Try again after `Retry-After`.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its documentation."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 421, 500, 503):
        answer: dict[str, Any] = {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}},
        }
        if status == 503:
            answer["headers"] = {
                "Retry-After": {
                    "description": "Seconds to wait before trying again.",
                    "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS},
                }
            }
        found[status] = answer
    return found


EVENTS_BODY: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One event, or a list of up to 1,000.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": REF.format(model="LoadEvent")},
                        {"$ref": REF.format(model="RunReport")},
                        {
                            "type": "array",
                            "maxItems": 1000,
                            "items": {
                                "anyOf": [
                                    {"$ref": REF.format(model="LoadEvent")},
                                    {"$ref": REF.format(model="RunReport")},
                                ]
                            },
                        },
                    ]
                }
            }
        },
    }
}
PUSH: Mapping[str, Any] = {
    "post": {
        "tags": ["events"],
        "summary": "Take a Pub/Sub push message in",
        "description": (
            "For a Pub/Sub push subscription (wrapped messages). Every message that could be "
            "recorded is acknowledged, also a duplicate one and a bad one: what cannot be taken "
            "in is kept whole in quarantine."
        ),
        "operationId": "push",
        "requestBody": {
            "required": True,
            "description": "The push envelope; `message.data` holds the event in base64.",
            "content": {"application/json": {"schema": {"$ref": REF.format(model="PushEnvelope")}}},
        },
        "responses": {
            "204": {"description": "Recorded: in the ledger, or in quarantine."},
            **{str(k): v for k, v in errors(403, 413).items()},
        },
    }
}


ENUMS = {
    "DeadlineAction": "What a deadline does at its instant.",
    "EffectKind": "What an effect does: launch a run, announce an output, notify people.",
    "RequirementKind": "What a requirement is about: one table, a group of them, or a window.",
    "ScheduleWhen": "Whether a schedule fires only what is ready, or always.",
}
"""Descriptions of enumerations of the core that need none there."""
MESSAGES: tuple[type[BaseModel], ...] = (LoadEvent, RunReport, PushEnvelope)
"""What ``wire`` reads; FastAPI knows the models of its own routes alone."""
PLACES = {
    "correlation_id": "The correlation id, as an event carried it.",
    "game_date": "A calendar date, YYYY-MM-DD, on the registry's clock.",
    "processor": "A processor's name, or an alias of it.",
    "quarantine_id": "The id that the listing of quarantine gives.",
    "run_id": "A run's id: PROCESSOR:YYYY-MM-DD:GENERATION.",
    "table": "A table's name, or an alias of it.",
}
"""Descriptions of the parameters in paths."""


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app."""
    document = get_openapi(
        title=TITLE,
        version=version("coordinator"),
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
    )
    for parameter in _parameters(document):
        if parameter["in"] == "path":
            parameter.setdefault("description", PLACES[parameter["name"]])
    document["paths"]["/pubsub/push"] = dict(PUSH)
    components: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _, defined = models_json_schema(
        [(Problem, "serialization"), *((m, "validation") for m in MESSAGES)],
        ref_template=REF,
    )
    for name, schema in defined["$defs"].items():
        components.setdefault(name, schema)
    for name, words in ENUMS.items():
        components[name].setdefault("description", words)
    document["components"]["schemas"] = dict(sorted(components.items()))
    return document


def _parameters(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for verbs in document["paths"].values():
        for call in verbs.values():
            yield from call.get("parameters", ())


# ── the page ─────────────────────────────────────────────────────────────────────────────────

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, .path { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
h3 { margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
th { border-bottom: 1px solid; }
td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
nav ul { list-style: none; padding-left: 1rem; }
.verb { font-weight: bold; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"
"""The page's Content-Security-Policy: its own style, and nothing else."""


def page_of(document: Mapping[str, Any]) -> str:
    """The reference as one HTML page."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    calls = [
        (path, verb, call)
        for path, verbs in sorted(document["paths"].items())
        for verb, call in verbs.items()
    ]
    body = [f"<h1>{escape(TITLE)}</h1>", _text(document["info"]["description"])]
    body.append('<p>For programs: <a href="openapi.json">openapi.json</a></p>')
    body.append(_contents(calls))
    for tag in TAGS:
        body.append(f'<h2 id="{tag["name"]}">{escape(tag["name"].capitalize())}</h2>')
        body.append(_text(tag["description"]))
        body += [_call(p, v, c) for p, v, c in calls if c["tags"][0] == tag["name"]]
    body.append('<h2 id="problems">Problems</h2>')
    for code, (title, what) in CODES.items():
        words = f"<code>{code}</code>: {escape(title)}"
        body.append(f'<h3 id="problem-{code}">{words}</h3>{_text(what)}')
    body.append('<h2 id="shapes">Shapes</h2>')
    body += [_shape(name, schema) for name, schema in schemas.items()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(TITLE)}: HTTP reference</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _text(words: str) -> str:
    """A sentence, with what is in backticks as code."""
    parts = escape(words).split("`")
    return (
        "<p>" + "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts)) + "</p>"
    )


def _cell(words: str) -> str:
    return _text(words)[3:-4]


def _contents(calls: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    lines = [
        f'<li><a href="#{escape(c["operationId"])}"><span class="path">{v.upper()} {escape(p)}'
        f"</span></a> {escape(c['summary'])}</li>"
        for p, v, c in calls
    ]
    return f"<nav><ul>{''.join(lines)}</ul></nav>"


def _call(path: str, verb: str, call: Mapping[str, Any]) -> str:
    out = [
        f'<h3 id="{escape(call["operationId"])}"><span class="verb">{verb.upper()}</span> '
        f'<span class="path">{escape(path)}</span></h3>',
        f"<p><strong>{escape(call['summary'])}.</strong></p>",
    ]
    if call.get("description"):
        out.append(_text(call["description"]))
    rows = [
        (p["name"], p["in"], _type(p["schema"]), p.get("description", ""))
        for p in call.get("parameters", ())
    ]
    if rows:
        out.append(_table(("parameter", "in", "type", "what"), rows))
    body = call.get("requestBody")
    if body:
        shape = next(iter(body["content"].values()))["schema"]
        out.append(f"<p>Body: {_type(shape)}</p>")
    answers = []
    for status, answer in sorted(call["responses"].items()):
        content: Mapping[str, Any] = next(iter(answer.get("content", {}).values()), {})
        shape = content.get("schema")
        answers.append((status, "", _type(shape) if shape else "", answer["description"]))
    out.append(_table(("answer", "", "shape", "when"), answers))
    return "".join(out)


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    out = [
        f'<h3 id="shape-{escape(name)}">{escape(name)}</h3>',
        _text(schema.get("description", "")),
    ]
    if "enum" in schema:
        out.append(
            "<p>" + ", ".join(f"<code>{escape(str(v))}</code>" for v in schema["enum"]) + "</p>"
        )
    required = schema.get("required", ())
    rows = [
        (field, "required" if field in required else "", _type(s), s.get("description", ""))
        for field, s in schema.get("properties", {}).items()
    ]
    if rows:
        out.append(_table(("field", "", "type", "what"), rows))
    return "".join(out)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(a)}</code></td><td>{escape(b)}</td><td>{c}</td>"
        f"<td>{_cell(d)}</td></tr>"
        for a, b, c, d in rows
    )
    heads = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema's type in a few words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#shape-{name}">{name}</a>'
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(_type(c) for c in choices)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(v))}</code>" for v in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("format") or kind))
