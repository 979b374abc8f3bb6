"""Which registries are served, by which instance, and how a partition is evaluated under each.

Owns the consequences of changing registries: under which of them something may have been done, and
whether a change put an instant into the past (specification 2.8).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from coordinator.judge.ledger import Ledger
from coordinator.judge.needs import Answer, EvaluatedNeeds, Needs, WaiverSpan
from coordinator.judge.observations import Served, Stopped
from coordinator.judge.rules import ProcessorRules, Rules, read
from coordinator.judge.story import Newer, PartitionStory


@dataclass(slots=True)
class Serving:
    """Every registry that was served, and who serves which."""

    ledger: Ledger
    registries: dict[str, Rules] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    """Registries in the order they came into use; the last is the current one."""
    instances: dict[str, str] = field(default_factory=dict)
    """Instance → the registry that it serves."""
    ready_at: dict[str, datetime] = field(default_factory=dict)
    """Registry → when an instance was first ready under it."""
    by: str | None = None
    """The registry of the instance that did what is being checked, if known."""
    _needs: dict[str, Needs] = field(default_factory=dict)

    @property
    def current(self) -> Rules:
        """The registry that is served now."""
        return self.registries[self.served[-1]]

    def serve(self, seen: Served, at: datetime) -> None:
        """An instance serves a registry, or has begun to."""
        started = self.instances.get(seen.instance) == seen.hash
        self.instances[seen.instance] = seen.hash
        if seen.ready:
            self.ready_at.setdefault(seen.hash, at)
        if started:
            return  # it was seen to start, and is ready now
        if seen.hash not in self.registries:
            self.registries[seen.hash] = read(seen.text, seen.hash, at)
        if not self.served or self.served[-1] != seen.hash:
            changed = at if self.served else None
            self.served.append(seen.hash)
            self._needs[seen.hash] = Needs(self.registries[seen.hash], self.ledger, changed)
            for other in self._needs.values():
                # While another one is served beside it, either may be used.
                if changed is not None:
                    other.changed_at = changed
                    other.changed_after = self.ledger.last_number

    def possible(self) -> list[Rules]:
        """The registries under which this may have been done."""
        if self.by is not None:
            return [self.registries[self.by]]
        served = dict.fromkeys([*self.instances.values(), *self.served[-1:]])
        return [self.registries[h] for h in served]

    def needs(self, rules: Rules) -> Needs:
        """The needs under a registry."""
        return self._needs[rules.hash]

    def evaluate(
        self, story: PartitionStory, rules: Rules, now: datetime, *, freshness: bool | None = None
    ) -> tuple[EvaluatedNeeds, list[Newer]]:
        """A partition's needs, and what is newer, at an instant, by everything seen so far."""
        needs, processor = self.needs(rules), rules.processors[story.processor]
        fresh = not story.generations if freshness is None else freshness
        ready = needs.readiness(
            processor,
            story.game_date,
            now,
            freshness=fresh,
            waivers=self._waivers(story, needs, now),
        )
        return ready, story.newer(needs, ready)

    def _waivers(self, story: PartitionStory, needs: Needs, now: datetime) -> list[WaiverSpan]:
        """The waivers of a partition. One that its data ended under another registry may be over."""
        found = story.waivers(needs, now)
        for other in self._needs.values():
            if found and other is not needs:
                holds = {w.table for w in story.waivers(other, now) if w.open}
                found = [
                    replace(w, open=None) if w.open and w.table not in holds else w for w in found
                ]
        return found

    def versions(self, name: str) -> list[ProcessorRules]:
        """A processor in every registry that has it, in the order they were read."""
        return [r.processors[name] for r in self.registries.values() if name in r.processors]

    def stop(self, seen: Stopped) -> None:
        """An instance serves nothing any more."""
        self.instances.pop(seen.instance, None)

    def all_served(self) -> list[Rules]:
        """The current registry, and those that instances serve beside it."""
        served = [self.current, *(self.registries[h] for h in self.instances.values())]
        return list({r.hash: r for r in served}.values())

    def set_before(self, story: PartitionStory, kind: str, instant: datetime) -> Answer:
        """Whether an instant was not put into the past by a change of the registry.

        The first registry of a store changes nothing; of any other that sets the instant one must
        have been served before it came. It is unknown while instances only try to start under it.
        """
        answer: Answer = False
        for number, identity in enumerate(self.served):
            rules = self.registries[identity]
            processor = rules.processors.get(story.processor)
            if processor is None or (number and rules.served_at >= instant):
                continue
            if any(
                k == kind and rules.instant(story.game_date, c) == instant
                for k, c in processor.clocks
            ):
                ready_at = self.ready_at.get(identity)
                if not number or (ready_at is not None and ready_at < instant):
                    return True
                answer = None
        return answer
