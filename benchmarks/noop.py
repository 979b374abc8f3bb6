"""The baseline: a FastAPI endpoint with the body model of a Pub/Sub push that does nothing."""

from __future__ import annotations

from fastapi import FastAPI, Response
from pydantic import BaseModel


class Message(BaseModel):
    """The inner part of a Pub/Sub push envelope."""

    data: str
    messageId: str
    publishTime: str
    attributes: dict[str, str] = {}


class Envelope(BaseModel):
    """The body model of the endpoint."""

    message: Message
    subscription: str


app = FastAPI()


@app.post("/pubsub/push")
async def push(envelope: Envelope) -> Response:
    """Validate the body and do nothing."""
    return Response(status_code=204)
