"""Those around the service: the subscription that pushes, the launcher, runners, people.

All of them live on the virtual clock, outside every process, and behave as the real ones do at
their worst: the subscription repeats what was not acknowledged, runners die, hang, report late and
twice. What each draws comes from the world's dice.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from coordinator.core.arrivals import Arrival
from coordinator.core.choices import RunStatus
from coordinator.core.model import Flag, Run, Status
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import BadInput, NotFound, Refused, Unavailable
from coordinator.judge.observations import Granted, Launched, ReportAccepted, Reporting
from coordinator.judge.observations import Sent as SentEvent
from coordinator.ports import Notice
from coordinator.simulation.process import Process, Unreachable
from coordinator.simulation.shown import noticed
from coordinator.simulation.surroundings import SentMessage, Surroundings

REDELIVERY_MOST = 60.0


def envelope(event: Mapping[str, Any] | bytes, message_id: str) -> bytes:
    """A push body around an event."""
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id}
    return json.dumps({"message": message, "subscription": "simulated"}).encode()


class Subscription:
    """Pushes each message until it is acknowledged, and sometimes once more."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self.open: dict[int, SentMessage] = {}

    def publish(self, sent: SentMessage) -> None:
        """Take a message in; it is delivered at least once, at some time, in any order."""
        self.open[sent.number] = sent
        said = SentEvent.of_push(sent.body)
        if said is not None:
            self._world.saw(said)
        self._world.outside(self._deliver(sent))

    async def _deliver(self, sent: SentMessage) -> None:
        world, faults, rng = self._world, self._world.faults, self._world.rng
        await world.clock.sleep(rng.uniform(0, 2))
        if faults.strikes("delay"):
            await world.clock.sleep(rng.choice((30.0, 600.0, 7200.0)))
        backoff = 1.0
        again = 1 + faults.strikes("duplicate")
        while again:
            if faults.strikes("no_ack"):  # lost on the way there
                acknowledged = False
            else:
                acknowledged = await self._push(sent)
            if acknowledged and not faults.strikes("ack_lost"):
                again -= 1
                backoff = 1.0
            await world.clock.sleep(backoff)
            backoff = min(backoff * 2, REDELIVERY_MOST)
        del self.open[sent.number]

    async def _push(self, sent: SentMessage) -> bool:
        world = self._world
        try:
            process = world.process()
            earliest = process.engine.clock.now()
            outcome = await process.call(lambda p: p.ingest.push(sent.body))
        except (Unavailable, Unreachable):
            return False
        except Exception as error:  # noqa: BLE001 - any other answer would be a 500
            world.broken(f"law 5: a push was answered with {error!r}: {sent.what}")
            return True
        world.say(f"push {sent.number} ({sent.what}) {outcome.outcome}")
        sent.acknowledged = True
        world.check_kept(sent, outcome.outcome, min(earliest, process.engine.clock.now()))
        return True


ANSWER_SECONDS = 10.0
"""How long the service's adapters wait for the answer of a target or a webhook."""
FLOOD = 12
"""How often a target that floods hands on one launch."""


class FakeLauncher:
    """Hands launches to fake runners, unreliably.

    A fault strikes one launch, or all of a processor's launches for a while (``trouble``).
    """

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._numbers = 0
        self.launched = 0
        self.runners = 0
        """Runners that are at work, or on the way to it."""
        self.trouble: dict[str, tuple[str, timedelta]] = {}
        """Processor → one of ``TARGET_PERIODS``, and when it ends in the world's even time."""

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """As ``ports.Launcher``."""
        world, faults = self._world, self._world.faults
        process = world.current_process()
        clock = world.clock if process is None else process.engine.clock
        at = clock.now()

        def refused(*, taken: bool) -> Launched:
            return Launched(message, None, taken=taken, clock=at)

        trouble = self._trouble_of(spec.name)
        if trouble == "target_down" or faults.strikes("launch_refused"):
            world.saw(refused(taken=False))
            raise Unavailable("the launcher cannot be reached (a fault)")
        await world.die_here(process, "crash_before_launch")
        if trouble == "target_hangs" or faults.strikes("launch_hangs"):
            await world.clock.sleep(ANSWER_SECONDS)
            world.saw(refused(taken=False))
            raise Unavailable("the launcher has not answered in time (a fault)")
        if faults.strikes("launch_slow"):
            await world.clock.sleep(world.rng.choice((0.5, 5.0, 45.0)))
        same = (run.run_id, run.attempt) == (message["run_id"], message["attempt"])
        if not same or message["generation"] != run.generation:
            world.broken(f"law 6: the launch of {run.run_id} says {message}")
        self._numbers += 1
        proof = f"m{self._numbers}"
        world.record.message_ids.add(proof)
        self.launched += 1
        copies, after = 1, 0.0
        late = faults.strikes("launch_late")
        if late:
            after = ANSWER_SECONDS + world.rng.choice((1.0, 60.0, 900.0))
        elif trouble == "target_loses" or faults.strikes("launch_vanishes"):
            copies = 0
        elif trouble == "target_floods" or faults.strikes("launch_flood"):
            copies = FLOOD
        elif faults.strikes("launch_twice"):
            copies = 2
        world.say(f"launch {run.run_id} attempt {run.attempt}")
        world.saw(Launched(message, proof, clock=at))
        for copy in range(copies):
            owner = f"runner-{self._numbers}-{copy}"
            world.outside(SimulatedRunner(world, owner, message, spec).live(after))
        await world.die_here(process, "crash_after_launch")
        if late:
            await world.clock.sleep(ANSWER_SECONDS)
            world.saw(refused(taken=True))
            raise Unavailable("the launcher has not answered in time (a fault)")
        if trouble == "target_denies" or faults.strikes("proof_lost"):
            world.saw(refused(taken=True))
            raise Unavailable("the launcher's answer was lost (a fault)")
        return proof

    def _trouble_of(self, processor: str) -> str | None:
        kind, until = self.trouble.get(processor, ("", timedelta(0)))
        if not kind or self._world.clock.elapsed >= until or not self._world.faults.on:
            return None
        self._world.faults.counts[kind] += 1
        return kind


class SimulatedRunner:
    """One runner that got one launch message."""

    def __init__(
        self, world: Surroundings, owner: str, message: Mapping[str, Any], spec: ProcessorSpec
    ) -> None:
        self._world = world
        self._owner = owner
        self._run_id: str = message["run_id"]
        self._attempt: int = message["attempt"]
        self._policy = spec.policy

    async def live(self, after: float = 0.0) -> None:
        """Claim, work, report; or not. The message takes ``after`` seconds to come."""
        self._world.launcher.runners += 1
        try:
            await self._live(after)
        finally:
            self._world.launcher.runners -= 1

    async def _live(self, after: float) -> None:
        world, faults, rng = self._world, self._world.faults, self._world.rng
        await world.clock.sleep(after + rng.uniform(0, 20))
        if faults.strikes("runner_dies"):
            return
        token = await self._claim()
        if token is None:
            return
        if faults.strikes("runner_dies"):
            return
        if faults.strikes("bad_token"):
            await self._report(f"not-{token}", RunStatus.SUCCESS, once=True)
        lease = self._policy.heartbeat_timeout.total_seconds()
        if faults.strikes("runner_hangs"):
            await world.clock.sleep(lease * rng.choice((1.5, 3.0)))
            if not faults.strikes("zombie_report", 20.0):
                return
        else:
            for _ in range(rng.choice((0, 0, 1, 2))):
                await world.clock.sleep(lease / 3)
                if not await self._beat(token):
                    break
            await world.clock.sleep(rng.uniform(0, lease / 3))
        status = self._status()
        await self._report(token, status)
        if faults.strikes("reports_twice", 3.0):
            await world.clock.sleep(rng.choice((0.0, 5.0, 300.0)))
            await self._report(token, status)

    def _status(self) -> RunStatus:
        if not self._world.faults.on:
            return RunStatus.SUCCESS
        return self._world.rng.choice(
            [RunStatus.SUCCESS] * 7 + [RunStatus.FAILED, RunStatus.SKIPPED, RunStatus.NO_DATA]
        )

    async def _claim(self) -> str | None:
        world = self._world
        for _ in range(8):
            try:
                run = await world.process().call(
                    lambda p: p.runs.claim(self._run_id, self._owner, self._attempt)
                )
            except (Unavailable, Unreachable):
                await world.clock.sleep(2.0)
                continue
            except (Refused, NotFound) as error:
                world.say(f"claim {self._run_id} attempt {self._attempt}: {error.code}")
                return None
            assert run.lease_token is not None
            world.say(f"claim {self._run_id} attempt {self._attempt}: {self._owner}")
            world.record.flush()
            world.record.granted(self._run_id, self._attempt, self._owner, run.lease_token)
            world.saw(Granted(self._run_id, self._attempt, self._owner, run.lease_token))
            return run.lease_token
        return None

    async def _beat(self, token: str) -> bool:
        try:
            await self._world.process().call(lambda p: p.runs.heartbeat(self._run_id, token))
        except (Unavailable, Unreachable):
            return True
        except (Refused, NotFound):
            return False
        return True

    async def _report(self, token: str, status: RunStatus, *, once: bool = False) -> None:
        world, rng = self._world, self._world.rng
        count = rng.choice((0, 12, 450)) if status is RunStatus.SUCCESS else None
        world.saw(Reporting(self._run_id, token, status.value, count))
        for _ in range(1 if once else 12):
            try:
                if rng.random() < 0.3:
                    answer = await self._by_message(token, status, count)
                else:
                    await world.process().call(
                        lambda p: p.runs.complete(self._run_id, token, status, count, "simulated")
                    )
                    answer = "applied"
            except (Unavailable, Unreachable):
                await world.clock.sleep(3.0)
                continue
            except (Refused, NotFound) as error:
                answer = error.code
            world.say(f"report {self._run_id} {status.value}: {answer}")
            if answer == "applied":
                world.record.flush()
                world.record.accepted(self._run_id, token, status.value)
                world.saw(ReportAccepted(self._run_id, token, status.value))
            return

    async def _by_message(self, token: str, status: RunStatus, count: int | None) -> str:
        event = {
            "event_type": "run_completed",
            "run_id": self._run_id,
            "lease_token": token,
            "status": status.value,
            "record_count": count,
            "error": "simulated",
        }
        body = envelope(event, self._world.name("report"))
        outcome = await self._world.process().call(lambda p: p.ingest.push(body))
        return outcome.outcome


class FakeAnnouncer:
    """The world outside that outputs are announced to."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    async def announce(self, arrival: Arrival) -> str:
        """As ``ports.Announcer``."""
        if self._world.faults.strikes("notice_refused"):
            raise Unavailable("nobody takes the announcement (a fault)")
        return arrival.event_id


class FakeNotifier:
    """People, who get each notice once; the way to them is slow, hangs, lies or is down for hours."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    async def notify(self, notice: Notice) -> None:
        """As ``ports.Notifier``."""
        world, faults = self._world, self._world.faults
        if faults.on and world.clock.elapsed < world.notifier_down_until:
            faults.counts["notifier_down"] += 1
            raise Unavailable("nobody takes a notice (a fault)")
        if faults.strikes("notice_refused"):
            raise Unavailable("nobody takes the notice (a fault)")
        if faults.strikes("notice_hangs"):
            await world.clock.sleep(ANSWER_SECONDS)
            raise Unavailable("the notice was not answered in time (a fault)")
        if faults.strikes("notice_slow"):
            await world.clock.sleep(world.rng.choice((0.5, 3.0, 9.0)))
        world.record.proved.add(notice.notice_id)
        world.saw(noticed(notice))
        if faults.strikes("notice_lost"):
            return  # it says that it was delivered
        world.notices[notice.kind] += 1
        if notice.processor:
            world.say(f"notice {notice.kind} {notice.processor} {notice.game_date}")
        if faults.strikes("notice_denied"):
            raise Unavailable("the answer was lost, the notice was not (a fault)")


class Person:
    """An operator who acts at bad moments."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    async def act(self) -> None:
        """Do one thing, on some partition or on all."""
        world, rng = self._world, self._world.rng
        name = rng.choice(sorted(world.definition["processors"]))
        game_date = rng.choice(world.dates)
        words = {"reason": f"because {world.name('reason')}", "actor": "ana"}
        act = rng.choice(_ACTS)
        if rng.random() < 0.2:
            stuck = self._stuck()
            if stuck:
                name, game_date = rng.choice(stuck)
                act = rng.choice(("reset", "reset", "trigger", "waive"))
        table = rng.choice(world.tables_of(name))
        until = rng.choice((None, world.clock.now() + rng.choice(world.spans)))
        bypass = [b for b in _BYPASSES if rng.random() < 0.4]
        if rng.random() < 0.2:
            bypass = list(_BYPASSES)
        flag = rng.random() < 0.3
        works: dict[str, Callable[[Process, bool], Awaitable[Any]]] = {
            "trigger": lambda p, dry: p.operate.trigger(
                name, game_date, bypass=bypass, skip_downstream=flag, dry_run=dry, **words
            ),
            "skip": lambda p, dry: p.operate.skip(
                name, game_date, end_run=flag, dry_run=dry, **words
            ),
            "reset": lambda p, dry: p.operate.reset(name, game_date, dry_run=dry, **words),
            "waive": lambda p, dry: p.operate.waive(
                name, game_date, table=table, until=until, dry_run=dry, **words
            ),
            "unwaive": lambda p, dry: p.operate.unwaive(
                name, game_date, table=table, dry_run=dry, **words
            ),
            "pause": lambda p, dry: p.operate.pause(name, dry_run=dry, **words),
            "resume": lambda p, dry: p.operate.resume(name, dry_run=dry, **words),
            "pause_all": lambda p, dry: p.operate.pause(None, dry_run=dry, **words),
            "resume_all": lambda p, dry: p.operate.resume(None, dry_run=dry, **words),
            "sweep": lambda p, dry: p.operate.sweep(),
            "replay": lambda p, dry: _settle(p, "replay", words),
            "discard": lambda p, dry: _settle(p, "discard", words),
        }
        dry = act == "dry_run"
        if dry:
            act = rng.choice(("trigger", "skip", "reset", "waive", "unwaive", "pause", "resume"))
        answer = await world.ask(lambda p: works[act](p, dry), dry=dry)
        scope = "all" if act.endswith("_all") else f"{name} {game_date}"
        detail = f" {'+'.join(bypass)}" if act == "trigger" else ""
        detail += f" {table}" if act in ("waive", "unwaive") else ""
        world.say(f"operator {'tries ' if dry else ''}{act} {scope}{detail}: {answer}")
        world.acts[act] += 1

    def _stuck(self) -> list[tuple[str, str]]:
        """Partitions that only a person brings on: failed, skipped, or without re-fires left."""
        world = self._world
        return sorted(
            (p.processor, p.game_date)
            for p in world.partitions()
            if Flag.REFIRES_SPENT in p.flags or p.status in (Status.FAILED, Status.SKIPPED)
        )


_ACTS = (
    *("trigger", "trigger", "skip", "reset", "reset", "waive", "waive", "unwaive"),
    *("pause", "resume", "resume", "pause_all", "resume_all", "resume_all", "sweep"),
    *("replay", "discard", "dry_run", "dry_run"),
)
_BYPASSES = ("dependencies", "freshness", "cooldown", "pause", "limits")


async def _settle(process: Process, how: str, words: Mapping[str, str]) -> None:
    page = await process.quarantine.page(state="open", limit=1)
    for quarantine_id, _ in page.items:
        if how == "replay":
            await process.operate.replay(quarantine_id, reason=words["reason"], actor="ana")
        else:
            await process.operate.discard(quarantine_id, reason=words["reason"], actor="ana")


EXPECTED_REFUSALS = (BadInput, Refused, Unavailable)
"""The answers that a person may get; anything else is a bug."""
