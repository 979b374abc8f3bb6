"""What is sent to the service: loads of many kinds, and messages that cannot be read.

Owns the draw of each message. A good half are loads of any table in any state; the others are drawn
to bring about what chance rarely does: a date that gets all it needs, the same load again with and
without a content mark, an optional or an alternative table after the run, a date that turns out to
have no games, bursts of games that nobody expects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from coordinator.core.effects import OUTPUT
from coordinator.core.model import Partition, run_id
from coordinator.ports import Kind
from coordinator.simulation.actors import envelope
from coordinator.simulation.surroundings import SentMessage, Surroundings

GAMES_PER_EVENT = 1000
"""The most game ids that one event may have."""

Event = dict[str, Any]


class Events:
    """Draws messages and publishes them."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self.sent: list[SentMessage] = []
        self._given_ids: list[Mapping[str, Any]] = []
        self._kinds: tuple[tuple[Callable[[], list[Event]], int], ...] = (
            (self._any, 50),
            (self._whole_date, 12),
            (self._again, 14),
            (self._after_the_run, 12),
            (self._calendar, 6),
            (self._quiet_then_loud, 6),
        )

    def send(self) -> None:
        """Publish one load, or a few that belong together."""
        world = self._world
        if world.faults.strikes("wrong_ids", 0.3):
            loads = self._wrong_ids()
            world.acts["send wrong_ids"] += 1
        else:
            kinds, weights = zip(*self._kinds, strict=True)
            (kind,) = world.rng.choices(kinds, weights)
            loads = kind() or [self._load()]
            world.acts[f"send {kind.__name__.strip('_')}"] += 1
        for event in loads:
            self.publish(event)

    def send_season(self) -> None:
        """Publish the calendar of every date, and loads of dates inside many windows."""
        for game_date in self._world.dates:
            self.publish(self._schedule(game_date))
            if self._world.rng.random() < 0.3:
                self.publish(self._good(self._world.rng.choice(self._raw()), game_date))

    # ── loads ────────────────────────────────────────────────────────────────────────────────

    def _any(self) -> list[Event]:
        return [self._load()]

    def _raw(self) -> list[str]:
        """The raw tables that processors name; one that two of them name is there twice."""
        world = self._world
        wanted = [t for p in sorted(world.definition["processors"]) for t in world.tables_of(p)]
        tables = world.definition["tables"]
        return [t for t in wanted if t in tables] or sorted(tables)

    def _load(self) -> Event:
        """Some load of some table that matters."""
        world, rng = self._world, self._world.rng
        table = rng.choice(self._raw())
        game_date = rng.choice(world.dates)
        if rng.random() < 0.15 or table == world.calendar_table:
            return self._schedule(game_date)
        status = rng.choice(["success"] * 8 + ["partial", "no_data", "failed", "skipped"])
        count: int | None = rng.choice((450, 450, 450, 120, 40, 0, None))
        games = world.games[game_date]
        ids: list[str] = []
        if world.definition["tables"][table]["grain"] == "game" and rng.random() < 0.7:
            ids = rng.sample(games, rng.randint(1, len(games))) if games else []
            if rng.random() < 0.05:
                ids.append("20251115_MIL_ORL")
        return self._event(table, game_date, status, count, ids)

    def _event(
        self, table: str, game_date: str, status: str, count: int | None, ids: list[str]
    ) -> Event:
        world, rng = self._world, self._world.rng
        age = rng.choice((0, 5, 60, 3600, 4 * 3600)) * rng.random()
        at = world.clock.now() - timedelta(seconds=age)
        event: Event = {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": game_date,
            "status": status,
            "record_count": count,
            "game_ids": ids,
            "timestamp": (at + timedelta(seconds=rng.choice((0, 0, 0, 200)))).isoformat(),
            "execution_id": world.name("execution"),
            "correlation_id": f"c{game_date}",
        }
        if rng.random() < 0.5:
            event["event_id"] = world.name("event")
        if rng.random() < 0.3:
            event["metadata"] = {"content_hash": rng.choice(("a", "b"))}
        if rng.random() < 0.06:
            event["skip_downstream"] = True
        return event

    def _good(self, table: str, game_date: str) -> Event:
        """A load of a whole date, with rows enough for every minimum."""
        if table == self._world.calendar_table:
            return self._schedule(game_date)
        event = self._event(table, game_date, "success", 450, [])
        event["timestamp"] = self._world.clock.now().isoformat()
        event.pop("skip_downstream", None)
        return event

    def _schedule(self, game_date: str) -> Event:
        """The calendar of a date, sometimes revised."""
        world, rng = self._world, self._world.rng
        games = world.games[game_date]
        if rng.random() < 0.15:
            world.games[game_date] = games = games[:-1] or (
                f"00225{game_date[5:7]}{game_date[8:]}7",
            )
        status = "success" if games else rng.choice(("success", "no_data"))
        table = world.calendar_table
        return self._event(table, game_date, status, len(games), list(games))

    def _calendar(self) -> list[Event]:
        """A date loses its games, or gets them after all."""
        world, rng = self._world, self._world.rng
        game_date = rng.choice(world.dates)
        games = world.games[game_date]
        world.games[game_date] = () if games else (f"00225{game_date[5:7]}{game_date[8:]}8",)
        event = self._schedule(game_date)
        event["timestamp"] = world.clock.now().isoformat()
        return [event]

    def _whole_date(self) -> list[Event]:
        """All that one processor needs of raw tables for one date."""
        world, rng = self._world, self._world.rng
        name = rng.choice(sorted(world.definition["processors"]))
        game_date = rng.choice(world.dates)
        found = [t for t in world.tables_of(name) if t in world.definition["tables"]]
        rng.shuffle(found)
        return [self._good(t, game_date) for t in dict.fromkeys(found)]

    def _again(self) -> list[Event]:
        """A repeated load: as many rows, and the same content, another, or any."""
        world, rng = self._world, self._world.rng
        known = [
            s.event
            for s in self.sent[-40:]
            if s.event and s.event["status"] == "success" and len(s.event["game_ids"]) < 20
        ]
        if not known:
            return []
        event = {**rng.choice(known), "execution_id": world.name("execution")}
        event["timestamp"] = world.clock.now().isoformat()
        event.pop("event_id", None)
        event.pop("skip_downstream", None)
        mark = (event.pop("metadata", None) or {}).get("content_hash")
        draw = rng.random()
        if draw < 0.4 and mark:
            event["metadata"] = {"content_hash": mark}
        elif draw < 0.7:
            event["metadata"] = {"content_hash": rng.choice("abc")}
        return [event]

    def _after_the_run(self) -> list[Event]:
        """A table that a partition had not used when it ran: optional, an alternative, or the same."""
        world, rng = self._world, self._world.rng
        done = [
            d
            for k, d in sorted(world.record.docs.items())
            if k.kind is Kind.PARTITION
            and isinstance(d, Partition)
            and d.generation
            and d.processor in world.definition["processors"]
            and d.game_date in world.games
        ]
        if not done:
            return []
        partition = rng.choice(done)
        requires = world.definition["processors"][partition.processor]["requires"]
        lines = [r for r in requires if not r.get("critical", True) or "any_of" in r]
        line = rng.choice(lines or requires)
        tables = line.get("any_of") or line.get("of") or [line["table"]]
        found = [t for t in tables if t in world.definition["tables"]]
        return [self._good(rng.choice(found), partition.game_date)] if found else []

    def _quiet_then_loud(self) -> list[Event]:
        """A quiet load, followed or not by an ordinary one of the same table."""
        world, rng = self._world, self._world.rng
        table, game_date = rng.choice(self._raw()), rng.choice(world.dates)
        quiet = self._good(table, game_date)
        quiet["skip_downstream"] = True
        return [quiet, self._good(table, game_date)] if rng.random() < 0.4 else [quiet]

    def _wrong_ids(self) -> list[Event]:
        """Hundreds to thousands of games that the calendar does not expect, and one good load."""
        world, rng = self._world, self._world.rng
        tables = world.definition["tables"]
        by_game = [t for t in self._raw() if tables[t]["grain"] == "game"]
        table, game_date = rng.choice(by_game or self._raw()), rng.choice(world.dates)
        found = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            first = rng.randrange(10**6)
            ids = [
                f"{first + n:07}_XXX_YYY" for n in range(rng.choice((200, 500, GAMES_PER_EVENT)))
            ]
            found.append(self._event(table, game_date, "success", 450, ids))
        return [*found, self._good(table, game_date)]

    # ── publishing ───────────────────────────────────────────────────────────────────────────

    def publish(self, event: Event) -> None:
        """Publish a load as one of its many senders writes it."""
        world = self._world
        ids = event["game_ids"]
        what = (
            f"{event['target_table']} {event['game_date']} {event['status']} "
            f"{event['record_count']} {'/'.join(ids) if len(ids) < 20 else f'{len(ids)} ids'}"
        )
        sent = SentMessage(len(self.sent), b"", event, what)
        if world.faults.strikes("reserved_id", 0.3):
            event["event_id"] = self._reserved_id()
            sent.reserved_id = True
            sent.what = f"{event['event_id']}, a reserved id"
        elif "event_id" in event:
            if world.rng.random() < 0.03 and self._given_ids:
                self._use_again(sent, event)
            self._given_ids.append(event)
        sent.body = envelope(self._spelled(event), f"message{sent.number}")
        self._publish(sent)

    def _use_again(self, sent: SentMessage, event: Event) -> None:
        """Give a load the id of another one."""
        known = self._world.rng.choice(self._given_ids)
        for other in self.sent:  # any of them may come first
            if other.event and other.event.get("event_id") == known["event_id"]:
                other.given_id_used_before = True
        for name in ("event_id", "target_table", "game_date"):
            event[name] = known[name]
        sent.given_id_used_before = True
        sent.what = f"{known['event_id']} again with other content"

    def _reserved_id(self) -> str:
        """An id that only the output of a run may have: of a run that there is, or of none."""
        world, rng = self._world, self._world.rng
        runs = sorted(k.id for k in world.record.docs if k.kind is Kind.RUN)
        if runs and rng.random() < 0.5:
            return f"{OUTPUT}{rng.choice(runs)}"
        name = rng.choice(sorted(world.definition["processors"]))
        return f"{OUTPUT}{run_id(name, rng.choice(world.dates), rng.choice((1, 7)))}"

    def _spelled(self, event: Mapping[str, Any]) -> Event:
        """The same event as one of its many senders writes it."""
        spelled, rng = dict(event), self._world.rng
        table = spelled.pop("target_table")
        way = rng.randrange(4)
        if way == 0:
            spelled["target_table"] = table
        elif way == 1:
            spelled["source_table"] = table.split(".")[1]
        elif way == 2:
            spelled["output_dataset"], spelled["output_table"] = table.split(".")
        else:
            spelled["processor_name"] = table.split(".")[1]
        if rng.random() < 0.2:
            spelled[rng.choice(("analysis_date", "data_date"))] = spelled.pop("game_date")
        if spelled["status"] in ("success", "failed") and rng.random() < 0.1:
            spelled["success"] = spelled.pop("status") == "success"
        return spelled

    def send_poison(self) -> None:
        """Publish something that cannot be read."""
        world = self._world
        good = self._spelled(self._load())
        ahead = (world.clock.now() + timedelta(days=400)).isoformat()
        number = len(self.sent)
        poison: list[bytes | Event] = [
            b"\xff\xfe not text",
            b"{",
            b"[]",
            {**good, "status": "wonderful"},
            {**good, "game_date": "TODAY", "analysis_date": "TODAY", "data_date": "TODAY"},
            {**good, "timestamp": ahead},
            {
                "event_type": "raw_data_loaded",
                "target_table": "nba_raw.nobody_knows",
                **{k: good[k] for k in ("timestamp",)},
                "game_date": world.dates[0],
                "status": "success",
            },
            {"event_type": "unheard_of"},
        ]
        body = envelope(world.rng.choice(poison), f"message{number}")
        if world.rng.random() < 0.2:
            body = world.rng.choice((b"", b"{}", b'{"message": {"data": "%%%"}}')) + b" " * number
        self._publish(SentMessage(number, body, None, "poison"))

    def _publish(self, sent: SentMessage) -> None:
        self.sent.append(sent)
        self._world.subscription.publish(sent)
