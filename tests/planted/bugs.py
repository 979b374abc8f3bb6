"""The planted bugs: what somebody could get wrong, and what must catch it.

``make planted`` plants each and fails where one goes unnoticed. When an edit no longer fits because
its place was rewritten, rewrite it for the new code; never delete a bug because it is hard to
catch. A bug that reached a user belongs here, with what catches it from then on.
"""

from __future__ import annotations

from tests.planted.plant import WORLDS_MAX, Bug, Edit

MACHINE = "coordinator/core/machine.py"
INPUTS = "coordinator/core/inputs.py"
DRAFT = "coordinator/core/draft.py"
FIRING = "coordinator/core/firing.py"
LIVE_RUNS = "coordinator/core/runs.py"
PEOPLE = "coordinator/core/people.py"
TIMERS = "coordinator/core/timers.py"
READINESS = "coordinator/core/readiness.py"
SOURCES = "coordinator/core/sources.py"
WINDOWS = "coordinator/core/windows.py"
HOLDS_FILE = "coordinator/core/holds.py"
NEWER = "coordinator/core/newer.py"
ARRIVALS = "coordinator/core/arrivals.py"
MODEL = "coordinator/core/model.py"
SCHEDULE = "coordinator/core/schedule.py"
LOADS = "coordinator/service/loads.py"
INGEST = "coordinator/service/ingest.py"
RUNS = "coordinator/service/runs.py"
SWEEP = "coordinator/service/sweep.py"
ENGINE = "coordinator/service/engine.py"
READING = "coordinator/service/reading.py"
READER = "coordinator/service/queries/reader.py"
MEMO = "coordinator/core/memo.py"
COMMITS = "coordinator/service/commits.py"
OPERATE = "coordinator/service/operate.py"
QUARANTINE = "coordinator/service/quarantine.py"
ROLLOUT = "coordinator/service/registry_rollout.py"
MEMBERSHIP = "coordinator/service/registry_membership.py"
DEDUPLICATE = "coordinator/service/notify_once.py"
SILENT_SOURCES = "coordinator/service/silent_sources.py"
OUTBOX = "coordinator/outbox.py"
FIRESTORE = "coordinator/adapters/firestore/store.py"
TRANSACTION = "coordinator/adapters/firestore/transaction.py"
SQLITE_WRITER = "coordinator/adapters/sqlite/writer.py"
SQLITE_STORE = "coordinator/adapters/sqlite/store.py"
HTTP = "coordinator/adapters/http.py"
NOTIFY = "coordinator/adapters/notify.py"
HEALTH = "coordinator/health.py"
EDGE = "coordinator/web/edge.py"
STREAM = "coordinator/web/stream.py"
TERMINAL = "coordinator/terminal.py"
OUTGOING = "coordinator/outgoing.py"
LOCAL = "coordinator/adapters/local.py"
PENDING = "coordinator/service/pending.py"
REGISTRY_RULES = "coordinator/registry/rules.py"
SPOOL = "processors/spool.py"
PUBLISHER = "processors/publisher.py"
RUN_CLIENT = "processors/run_client.py"
LAUNCH = "processors/launch.py"
RUNNER = "processors/runner.py"
SEASON = "processors/raw/season.py"
WAREHOUSE = "processors/warehouse.py"
WORKER_POOL = "processors/worker_pool.py"
SERVED = "tests/served/test_judged.py"


def replace(file: str, before: str, after: str) -> Edit:
    """A snippet that must occur exactly once, and its replacement."""
    return Edit(file=file, before=before, after=after)


def simulated(name: str, breaks: str, rule: str, *edits: Edit, worlds: int = WORLDS_MAX) -> Bug:
    """A bug that the simulation must catch."""
    return Bug(name=name, breaks=breaks, rule=rule, edits=edits, worlds=worlds)


def tested(name: str, breaks: str, rule: str, *edits: Edit, by: str) -> Bug:
    """A bug that the named test must catch."""
    return Bug(name=name, breaks=breaks, rule=rule, edits=edits, tests=(by,))


def never_held(kind: str, breaks: str, rule: str) -> Bug:
    """One kind of hold is worked out and then ignored."""
    code = (
        "from coordinator.core.verdict import HoldKind\n\n"
        "_judged = judge\n\n\n"
        "def judge(*args, **options):\n"
        "    verdict = _judged(*args, **options)\n"
        f"    holds = tuple(h for h in verdict.holds if h.kind is not HoldKind.{kind})\n"
        "    return verdict._replace(holds=holds)"
    )
    name = f"never-held-{kind.lower().replace('_', '-')}"
    return simulated(name, breaks, rule, Edit(file=READINESS, after=code))


HOLDS = (
    never_held("GRACE", "optional inputs are not waited for", "2, Waiting"),
    never_held("PREFER", "an alternate wins before prefer_for has passed", "2, any_of"),
    never_held("DEBOUNCE", "a burst of loads fires before it is over", "2, Waiting"),
    never_held("NOT_BEFORE", "a run starts before its earliest instant", "2, not_before"),
    never_held("COOLDOWN", "newer data fires again right after a success", "2, cooldown"),
    never_held("QUIET", "a load that was announced quiet fires", "3, skip_downstream"),
    never_held("PAUSE", "what is paused fires", "law 8"),
    never_held("BUDGET", "newer data fires without end", "law 7"),
)

JUDGEMENT = (
    simulated(
        "every-load-quiet",
        "every load is taken as quiet, so nothing fires by itself",
        "law 3",
        replace(LOADS, "quiet=message.quiet,", "quiet=True,"),
    ),
    tested(
        "last-by-receipt",
        "newer data is released by receipts, not by the order of commits: clocks may contradict it",
        "law 3",
        replace(NEWER, "places.get(load_key(date, d.latest.event_id), -1)", "0"),
        by="tests/core/test_machine.py::"
        "test_a_load_that_is_no_newer_data_hides_none_that_released_a_quiet_one",
    ),
    tested(
        "equal-content-hides-newer",
        "a reload of equal content takes the place of a load that released a quiet one",
        "law 3",
        replace(
            INPUTS,
            "(*kept, *[load_key(key, load.event_id) for load in new])",
            "(*(k for k in kept if not k.startswith(key)), *(load_key(key, e) for e in "
            "after.arrivals))",
        ),
        by="tests/core/test_machine.py::"
        "test_a_reload_of_equal_content_hides_no_load_that_released_a_quiet_one",
    ),
    tested(
        "missed-loads-forgotten",
        "an ordinary load that only another registry's instance recorded releases no quiet one",
        "law 3",
        replace(
            INPUTS,
            "(*_missed(before, fact), fact.arrival)",
            "(fact.arrival,)",
        ),
        by="tests/core/test_machine.py::"
        "test_a_load_that_only_another_registrys_instance_recorded_counts",
    ),
    tested(
        "unnoticed-loads-forgotten",
        "an ordinary load that came while no registry had the processor releases no quiet one",
        "law 3",
        replace(
            INPUTS,
            "committed=_with_unnoticed(draft, inputs.arrivals)",
            "committed=inputs.committed",
        ),
        by="tests/core/test_registry_change.py::"
        "test_a_load_that_came_while_no_registry_had_the_processor_counts",
    ),
    tested(
        "quiet-load-of-a-dropped-table",
        "a quiet load of a table that a changed registry does not ask for holds for ever",
        "law 3",
        replace(
            INPUTS,
            "latest = None if newest is None else Latest.of(newest)",
            "latest = inputs.latest if newest is None else Latest.of(newest)",
        ),
        by="tests/core/test_machine.py::"
        "test_a_quiet_load_that_is_not_asked_for_any_more_holds_nothing",
    ),
    simulated(
        "reloads-superseded",
        "every reload is thrown away as older than what counts",
        "3.1, Order",
        replace(
            ARRIVALS, "if whole is not None and whole.outranks(arrival):", "if whole is not None:"
        ),
        replace(
            ARRIVALS,
            "if g not in games or not self.arrivals[games[g]].outranks(arrival)",
            "if g not in games",
        ),
    ),
    simulated(
        "loads-of-one-size-lost",
        "loads of 450 rows are acknowledged as applied and thrown away",
        "law 5",
        replace(
            ARRIVALS,
            "        known_arrivals = {**self.arrivals, arrival.event_id: arrival}\n",
            "        if arrival.record_count == 450:\n"
            "            return self, Fold.APPLIED\n"
            "        known_arrivals = {**self.arrivals, arrival.event_id: arrival}\n",
        ),
    ),
    simulated(
        "older-loads-win",
        "an older load replaces a newer one that came first",
        "3.1, Order",
        replace(ARRIVALS, "if whole is not None and whole.outranks(arrival):", "if False:"),
    ),
    tested(
        "met-through-a-gap",
        "what aged or whose waiver ended counts as met all along, if no sweep came between",
        "2, Waiting",
        replace(MACHINE, "    draft = _note_what_time_ended(draft)\n", ""),
        by="tests/core/test_machine.py::"
        "test_a_load_that_aged_before_the_next_came_breaks_since_when_it_is_met",
    ),
    tested(
        "grace-from-a-waiver",
        "without critical needs, grace runs from a waiver and not from the first arrival",
        "2, Waiting",
        replace(
            HOLDS_FILE,
            "for r in requirements if r.window is not None and r.since is not None]",
            "for r in requirements if r.since is not None]",
        ),
        by="tests/core/test_machine.py::"
        "test_grace_without_critical_needs_runs_from_the_first_arrival_not_from_a_waiver",
    ),
    tested(
        "reset-repeats-schedules",
        "a reset while the clock is set back makes schedules act again",
        "2, schedules",
        replace(
            PEOPLE,
            "max(draft.timers.schedule_done_at or draft.now, draft.now)",
            "draft.now",
        ),
        by="tests/core/test_machine.py::"
        "test_a_schedule_that_acted_is_done_after_a_reset_under_a_clock_that_was_set_back",
    ),
    tested(
        "old-games-stay-dirty",
        "after a change of grain to date, loads by game are still compared game by game",
        "2, Dirty",
        replace(
            NEWER,
            "return known.newest if grain is Grain.DATE else known.winner(name)",
            "return known.winner(name)",
        ),
        by="tests/core/test_readiness.py::"
        "test_after_a_change_of_grain_to_date_only_a_newer_load_of_the_date_is_newer_data",
    ),
    tested(
        "unkept-never-release",
        "an ordinary load of games that are not kept does not release a quiet one",
        "law 3",
        replace(NEWER, "if place >= 0:  # of games", "if False:  # of games"),
        by="tests/core/test_machine.py::"
        "test_an_ordinary_load_of_games_that_are_not_kept_releases_a_quiet_one",
    ),
    tested(
        "other-tables-release",
        "an ordinary load of another table releases a quiet one that was committed after it",
        "3, skip_downstream",
        replace(
            NEWER,
            "return max(found, key=lambda f: f[:2])[2] if found",
            "return last if found",
        ),
        by="tests/core/test_machine.py::"
        "test_a_quiet_load_committed_last_holds_whatever_another_table_has_received_later",
    ),
    tested(
        "an-instant-waits-for-an-ordinary-load",
        "a schedule's instant that came under a quiet load acts when an ordinary one comes",
        "2.6, schedule",
        replace(TIMERS, " or Flag.QUIET in draft.before.flags:", ":"),
        by="tests/core/test_machine.py::"
        "test_an_instant_that_came_under_a_quiet_load_is_over_when_an_ordinary_one_comes",
    ),
    tested(
        "an-empty-load-begins-the-wait",
        "without critical needs a load without rows that came long ago ends debounce",
        "2.5, max_settle",
        replace(
            HOLDS_FILE,
            "for a in t.arrivals.values() if not a.empty]",
            "for a in t.arrivals.values()]",
        ),
        by="tests/core/test_machine.py::test_debounce_without_critical_needs_counts_no_empty_load",
    ),
    tested(
        "an-instant-waits-for-the-needs",
        "a schedule's instant that came while the needs were not met acts when they are",
        "2.6, schedule",
        replace(TIMERS, "idle = not verdict.critical_met and not windows", "idle = False"),
        by="tests/core/test_machine.py::"
        "test_an_instant_that_came_while_the_needs_were_not_met_is_over_when_they_are",
    ),
    tested(
        "marks-of-what-was-unmet",
        "an optional requirement that a reload with an equal mark meets is no newer data",
        "2, Dirty",
        replace(NEWER, "not (marked and replaced", "not (replaced"),
        by="tests/core/test_readiness.py::"
        "test_an_equal_mark_is_newer_data_where_an_optional_requirement_was_not_met",
    ),
    tested(
        "a-date-equals-one-of-its-games",
        "after a change of grain to date, a load is compared with one of those that were consumed",
        "2, Dirty",
        replace(NEWER, "tuple(before.values()) if by_date else () if", "() if"),
        by="tests/core/test_readiness.py::"
        "test_after_a_change_of_grain_a_load_of_the_date_is_compared_with_all_that_was_consumed",
    ),
    tested(
        "marks-of-old-games",
        "after a change of grain to date, what is consumed is marked game by game",
        "2, Dirty",
        replace(
            NEWER,
            "    if grain is Grain.DATE:\n        return {} if known.newest",
            "    if False:\n        return {} if known.newest",
        ),
        by="tests/core/test_readiness.py::"
        "test_after_a_change_of_grain_what_counted_is_what_was_consumed",
    ),
    tested(
        "newer-data-by-an-edit",
        "an edit of a requirement makes newer data of loads that came before it",
        "2.8",
        replace(
            INPUTS,
            "        draft = _note_new_requirements(draft, fact.registry_since)\n",
            "            draft = _note_new_requirements(draft, fact.registry_since)\n",
        ),
        by="tests/core/test_registry_change.py::test_sources_in_another_order_are_no_newer_data",
    ),
    tested(
        "newer-data-lost-by-an-edit",
        "another edit makes what a new requirement waits to consume no newer data",
        "law 3",
        replace(NEWER, "found[name] = noted or _known_until(", "found[name] = _known_until("),
        by="tests/core/test_registry_change.py::"
        "test_newer_data_of_a_new_line_stays_newer_data_under_the_next_registry",
    ),
    tested(
        "older-than-a-game-wins",
        "after a change of grain to date, a load older than one of a single game counts",
        "3.1, Order",
        replace(ARRIVALS, "wins = not any(", "wins = True or not any("),
        by="tests/core/test_arrivals.py::"
        "test_a_load_older_than_one_of_a_game_is_superseded_after_a_change_of_grain_to_date",
    ),
    tested(
        "newest-not-held",
        "after a change of grain to date, an older load counts where no game of the newest is kept",
        "3.1, Order",
        replace(ARRIVALS, "if e in counting or a is newest", "if e in counting"),
        by="tests/core/test_arrivals.py::"
        "test_the_newest_counts_after_a_change_of_grain_though_none_of_its_games_are_kept",
    ),
    simulated(
        "failed-loads-satisfy",
        "a failed load replaces a success",
        "3.1, status",
        replace(
            ARRIVALS,
            "return replace(self, last_failure=arrival), Fold.APPLIED",
            "pass",
        ),
    ),
    simulated(
        "coverage-ignored",
        "one game of a date is enough",
        "2, min_coverage",
        replace(
            SOURCES,
            "if covered < max(1, ceil(min_coverage * len(expected) - 1e-9)):",
            "if covered < 1:",
        ),
    ),
    simulated(
        "minimum-ignored",
        "too few rows are enough",
        "2, expected_count",
        replace(SOURCES, "return found if enough else", "return found if True else"),
    ),
    simulated(
        "empty-loads-satisfy",
        "a load without rows meets a requirement on a date with games",
        "3.1, no_data",
        replace(
            SOURCES,
            "state = State.READY if nothing_due else State.EMPTY",
            "state = State.READY",
        ),
    ),
    simulated(
        "stale-inputs-pass",
        "an input that is too old fires the first generation",
        "2, Freshness",
        replace(
            SOURCES,
            "if stale_at is not None and now >= stale_at:",
            "if stale_at is not None and not oldest:",
        ),
    ),
    simulated(
        "content-mark-ignored",
        "a reload of the very same content fires again",
        "2, Dirty",
        replace(
            MODEL,
            "return self.content_hash is not None and self.content_hash == other.content_hash",
            "return False",
        ),
    ),
    simulated(
        "reloads-never-dirty",
        "corrections never fire a new generation",
        "2, Dirty",
        replace(
            MODEL,
            "return self.content_hash is not None and self.content_hash == other.content_hash",
            "return True",
        ),
    ),
    simulated(
        "alternates-refire",
        "a further alternate of a satisfied group fires again",
        "2, Dirty",
        replace(
            NEWER,
            "return r.sources[: names.index(used) + 1] if used in names else r.sources",
            "return r.sources",
        ),
        replace(NEWER, "ready = source.by_data and source.table in r.used", "ready = True"),
    ),
    simulated(
        "calendar-loads-refire",
        "a load of the schedule fires again",
        "2, Dirty",
        replace(NEWER, "if source.table == spec.calendar_table:", 'if source.table == "":'),
    ),
    simulated(
        "late-optional-never-refires",
        "optional data that was missing when fired never fires again",
        "2, Dirty",
        replace(
            NEWER,
            "return r.sources if r.requirement.critical or r.met else ()",
            "return r.sources if r.requirement.critical else ()",
        ),
    ),
    simulated(
        "optional-required",
        "what is optional is waited for without end",
        "2, grace",
        replace(
            READINESS,
            "critical = [r for r in requirements if r.requirement.critical]",
            "critical = list(requirements)",
        ),
    ),
    simulated(
        "windows-always-met",
        "a history window is met by no day at all",
        "2, Windows",
        replace(
            WINDOWS,
            "met = len(ready) >= needed if days",
            "met = bool(ready) or bool(days) if days",
        ),
    ),
    simulated(
        "off-days-fire",
        "a date without games fires",
        "2, off_day",
        replace(
            READINESS,
            "and spec.policy.off_day is OffDay.SKIP",
            "and spec.policy.off_day is None",
        ),
    ),
    simulated(
        "offset-ignored",
        "today's data is used where yesterday's is required",
        "2, dates",
        replace(
            READINESS,
            "        date = shift(date, requirement.offset)\n",
            "",
        ),
    ),
)

TIME = (
    simulated(
        "every-deadline-fires",
        "a deadline that should alert or skip launches",
        "2, Deadlines",
        replace(
            TIMERS,
            "if action is DeadlineAction.FIRE and verdict.usable",
            "if verdict.usable",
        ),
    ),
    simulated(
        "deadlines-never-act",
        "nothing happens at a deadline",
        "law 4",
        replace(
            TIMERS,
            "if at is None or verdict.off_day:",
            "if at is None or verdict:",
        ),
    ),
    simulated(
        "schedules-never-act",
        "nothing happens at a schedule's instant",
        "law 4",
        replace(TIMERS, "return fire(draft, verdict, Trigger.SCHEDULE)", "return draft"),
    ),
    simulated(
        "schedules-act-again",
        "one instant of a schedule that always fires does so again and again",
        "2, schedule",
        replace(
            TIMERS,
            "    draft = _close_schedule(draft, due)\n",
            "",
        ),
    ),
    simulated(
        "leases-never-end",
        "a runner that died holds its run for ever",
        "law 4",
        replace(LIVE_RUNS, "if draft.now >= run.lease_expires_at:", "if False:"),
    ),
    simulated(
        "runs-never-time-out",
        "a runner that beats without end is never stopped",
        "law 4",
        replace(
            LIVE_RUNS,
            "if draft.now >= attempt.claimed_at + policy.run_timeout:",
            "if False:",
        ),
    ),
    simulated(
        "unclaimed-never-noticed",
        "a launch that nobody reads is waited for without end",
        "law 4",
        replace(
            LIVE_RUNS,
            "if draft.now >= attempt.delivered_at + policy.claim_timeout:",
            "if False:",
        ),
    ),
    simulated(
        "no-retry-backoff",
        "a failed attempt is launched again at once",
        "2, retry_backoff",
        replace(LIVE_RUNS, "launch_at=draft.now + wait)", "launch_at=draft.now)"),
    ),
    simulated(
        "attempts-unlimited",
        "a run that fails is launched for ever",
        "law 7",
        replace(LIVE_RUNS, "if run.attempt >= draft.policy.attempts:", "if False:"),
    ),
    simulated(
        "waivers-never-expire",
        "a waiver holds after its time",
        "5.4, waivers",
        replace(
            PEOPLE,
            "if w.closed_at is None and w.until is not None and w.until <= now",
            "if False",
        ),
        replace(
            MODEL,
            "return self.closed_at is None and (self.until is None or now < self.until)",
            "return self.closed_at is None",
        ),
    ),
    simulated(
        "sweep-a-day-late",
        "what waits for time is evaluated a day late",
        "law 3",
        replace(
            SWEEP,
            "        return self._engine.clock.now()",
            "        return self._engine.clock.now() - timedelta(days=1)",
        ),
        replace(SWEEP, "            next_wake=next_wake,", "            next_wake=None,"),
    ),
)

RUN = (
    simulated(
        "new-partition-not-filled",
        "a processor that is added later does not see what was loaded before",
        "law 3",
        replace(ENGINE, "refill = refill or stale or", "refill = refill or"),
    ),
    simulated(
        "settling-forgotten",
        "what is held shows as waiting",
        "law 6",
        replace(
            MACHINE,
            "return Status.SETTLING if verdict.critical_met else Status.WAITING",
            "return Status.WAITING",
        ),
    ),
    simulated(
        "launches-made-up",
        "launches count as delivered and are not sent",
        "law 3",
        replace(
            OUTBOX,
            "return await launcher.launch(target, spec, run, message)",
            'return "made up"',
        ),
    ),
    simulated(
        "any-token-is-good",
        "a report with a stale token ends a run",
        "law 2",
        replace(
            LIVE_RUNS,
            "if run.lease_token != fact.token or run.status is not RunStatus.RUNNING:\n"
            "        failed",
            "if run.status is not RunStatus.RUNNING:\n        failed",
        ),
    ),
    simulated(
        "one-run-two-owners",
        "a run that is taken is given to the next who asks",
        "law 2",
        replace(LIVE_RUNS, "if run.current.owner == fact.owner:", "if True:"),
    ),
    simulated(
        "outbox-emptied-on-failure",
        "a launch whose delivery failed is never tried again",
        "law 3",
        replace(
            LIVE_RUNS,
            "outbox = tuple(tried if e is entry else e for e in draft.journal.outbox)",
            "outbox = tuple(e for e in draft.journal.outbox if e is not entry)",
        ),
    ),
    simulated(
        "refires-without-budget",
        "newer data fires without end",
        "law 7",
        replace(FIRING, "refires=execution.refires + by_itself", "refires=0"),
    ),
    simulated(
        "reset-keeps-spent-budget",
        "after a reset newer data cannot fire",
        "4, Reset",
        replace(
            PEOPLE,
            "execution=Execution(generation=execution.generation)",
            "execution=Execution(generation=execution.generation, refires=execution.refires)",
        ),
    ),
    simulated(
        "output-lost-with-its-run",
        "a run ends and its output is not announced",
        "law 3",
        replace(
            RUNS,
            "if ended is not None and ended.status in ANNOUNCED:",
            "if ended is not None and ended.status in ():",
        ),
    ),
    simulated(
        "acknowledged-before-kept",
        "a message is acknowledged while the store is out of reach",
        "law 5",
        replace(
            INGEST,
            '            return await self._set_aside(body, "push", error, message_id, received_at)\n',
            '            return await self._set_aside(body, "push", error, message_id, received_at)\n'
            "        except CoordinatorError:\n"
            '            return Outcome(outcome="applied")\n',
        ),
    ),
    simulated(
        "inputs-empty",
        "a launch does not say what it reads",
        "6, Launch",
        replace(FIRING, "inputs=tuple(_inputs(verdict, arrivals)),", "inputs=(),"),
    ),
    simulated(
        "changed-games-empty",
        "a launch by newer data does not say which games changed",
        "6, Launch",
        replace(FIRING, "changed_games=verdict.changed_games,", "changed_games=(),"),
    ),
    simulated(
        "warnings-empty",
        "a launch does not warn of what a careful runner should know",
        "6, Launch",
        replace(
            FIRING,
            "        warnings=launch_warnings(\n"
            "            ruled or verdict, draft.spec, before.game_date, draft.inputs.games\n"
            "        ),\n",
            "        warnings=(),\n",
        ),
    ),
    simulated(
        "trigger-wrong",
        "a launch by newer data says that its dependencies came",
        "6, Launch",
        replace(
            MACHINE,
            "fire(draft, verdict, Trigger.LATE_DATA)",
            "fire(draft, verdict, Trigger.DEPENDENCIES)",
        ),
    ),
    simulated(
        "no-notice-made",
        "no notice about a partition is made",
        "6, Notify",
        replace(DRAFT, "        if name in journal.notified:", "        if name:"),
    ),
    simulated(
        "no-notice-sent",
        "notices about partitions count as delivered and are not sent",
        "6, Notify",
        replace(
            OUTBOX,
            "        await self._once(lane, notice.notice_id, lambda: notifier.notify(notice))\n",
            "",
        ),
    ),
    simulated(
        "notices-repeated",
        "one cause sends a notice every hour",
        "6, Notify",
        replace(
            DRAFT,
            'name = f"{kind}:{cause}"',
            'cause = f"{cause}:{self.now:%d%H}"\n        name = f"{kind}:{cause}"',
        ),
    ),
)

API = "tests/api/"
SERVICE = "tests/service/"
FIRESTORE_TESTS = "tests/firestore/"
RACES = "tests/simulation/test_races.py::"
SQLITE_TESTS = "tests/contract/test_sqlite.py::"

INTAKE = (
    tested(
        "neighbours-fail-together",
        "one event that breaks fails every event that shares its commit",
        "law 5",
        replace(COMMITS, "if len(pieces) == 1 or isinstance(error, Unavailable):", "if pieces:"),
        by=SERVICE + "test_guards.py::test_an_event_that_breaks_takes_none_of_its_batch_with_it",
    ),
    tested(
        "window-work-not-recorded",
        "a process that dies after a load leaves those with a window over it waiting for ever",
        "law 3",
        replace(
            LOADS,
            "                work[arrival.table].add(Work.WINDOWS)\n        if load.more",
            "                pass\n        if load.more",
        ),
        by="tests/service/test_windows.py::test_served_they_fire_without_a_sweep_of_all",
    ),
    tested(
        "known-id-other-content",
        "another load under a known id is taken for a repetition and lost",
        "3.1, event_id",
        replace(LOADS, "if known.digest != message.digest:", "if not known.digest:"),
        by=API + "test_events.py::test_a_known_id_with_other_content_is_quarantined_or_rejected",
    ),
    tested(
        "duplicates-not-evaluated",
        "a stuck partition is not healed by a load that comes again",
        "3.1, event_id",
        replace(
            LOADS,
            "            for target in targets:\n"
            "                facts.setdefault(target, []).append(Ticked())\n"
            "            in_windows = arrival.table",
            "            targets = ()\n            in_windows = arrival.table",
        ),
        by=SERVICE
        + "test_guards.py::test_a_load_that_comes_again_heals_a_partition_whose_time_has_come",
    ),
    tested(
        "announcements-forged",
        "anybody may send the load by which a run announces its output",
        "6, Announce",
        replace(
            LOADS,
            "if arrival.event_id.startswith(OUTPUT) and not load.own:",
            "if not arrival.event_id:",
        ),
        by=SERVICE + "test_instances.py::test_an_id_of_a_runs_output_is_the_runs_alone",
    ),
    tested(
        "calendar-of-equal-timestamp-ignored",
        "of two schedule loads of one instant the first counts for ever",
        "3.1, Order",
        replace(
            LOADS, "known.timestamp > arrival.timestamp:", "known.timestamp >= arrival.timestamp:"
        ),
        by=SERVICE
        + "test_guards.py::test_of_two_schedule_loads_of_one_instant_the_later_received_counts",
    ),
    tested(
        "rows-without-ids-empty-the-calendar",
        "a schedule load that lists no games says that there are none",
        "3.1, calendar",
        replace(LOADS, "if not arrival.game_ids and not none:", "if not arrival.event_id:"),
        by=SERVICE + "test_calendar.py",
    ),
    tested(
        "future-timestamps-win",
        "a producer whose clock runs ahead outranks every later load",
        "3.1, Order",
        replace(
            LOADS, "timestamp=min(message.timestamp, received_at),", "timestamp=message.timestamp,"
        ),
        by=SERVICE + "test_guards.py::test_a_timestamp_after_its_receipt_counts_as_its_receipt",
    ),
    tested(
        "discarded-entry-reopens",
        "a message that a person discarded is open again when it is redelivered",
        "3.3, quarantine",
        replace(QUARANTINE, "known.state is QuarantineState.DISCARDED", 'known.state == ""'),
        by=SERVICE + "test_guards.py::test_a_discarded_message_that_comes_again_stays_discarded",
    ),
    tested(
        "unknown-tables-set-aside-during-a-deployment",
        "a table that only the new registry has is quarantined by an old instance",
        "law 5",
        replace(
            MEMBERSHIP,
            "if any(knows(other) for other in await self.other_registries()):",
            "if not self.others:",
        ),
        by=SERVICE
        + "test_rolling_deployment.py::test_a_table_that_only_the_new_registry_has_is_sent_again_and_not_set_aside",
    ),
    tested(
        "former-output-recorded-too-early",
        "an output that only another served registry has is recorded for nobody",
        "law 3",
        replace(INGEST, "        if name not in self.registry.tables:\n", "        if not name:\n"),
        by=SERVICE + "test_rolling_deployment.py::"
        "test_an_output_under_a_former_name_is_announced_once_nobody_serves_that_name",
    ),
)

DECIDING = (
    tested(
        "question-leaves-a-partition",
        "a report on a run that never was creates a partition",
        "5.3",
        replace(RUNS, "            if partition is None:\n", "            if not key:\n"),
        by=SERVICE
        + "test_announced.py::test_a_report_on_a_run_that_never_was_leaves_nothing_behind",
    ),
    tested(
        "refusal-replaces-the-live-run",
        "a refused report on a run that is over ends the run that is live",
        "law 2",
        replace(
            LIVE_RUNS,
            "    if is_live:\n        return _put(draft, refused)",
            "    if run:\n        return _put(draft, refused)",
        ),
        by="tests/core/test_answers.py::"
        "test_a_refusal_about_a_run_that_is_over_is_recorded_there_and_changes_nothing_else",
    ),
    tested(
        "waiting-announcement-struck-off",
        "a repeated report drops an announcement that was not delivered",
        "law 3",
        replace(
            RUNS,
            "if announce and partition.live is not None and partition.live.run_id == run_id:",
            "if announce:",
        ),
        by=SERVICE
        + "test_announced.py::test_an_announcement_that_another_process_left_waiting_is_not_struck_off",
    ),
    tested(
        "dry-run-writes",
        "a rehearsal does what it should only say",
        "5.4",
        replace(
            OPERATE,
            "decision = await self._engine.preview(spec, game_date, (fact,))",
            "decision = await self._engine.apply(spec, game_date, (fact,))",
        ),
        by=API + "test_operators.py::test_a_rehearsal_says_what_it_would_do_and_changes_nothing",
    ),
    tested(
        "pause-of-all-ignored",
        "a pause of everything holds nothing that is new",
        "law 8",
        replace(ENGINE, "for key in places.controls:", "for key in places.controls[1:]:"),
        by=API + "test_operators.py::test_a_pause_keeps_everything_and_resume_fires",
    ),
    tested(
        "windows-unseen-at-a-runs-end",
        "what came into a window while a run lived is not seen when it ends",
        "law 3",
        replace(
            ENGINE,
            "return decision.fired is not None or begins or instants",
            "return decision.fired is not None or (begins and before.live is None) or instants",
        ),
        by=SERVICE
        + "test_instances.py::test_a_run_that_ends_by_a_late_beat_is_judged_with_its_windows_as_they_are",
    ),
    tested(
        "windows-unread-at-schedules",
        "a schedule is judged by what is remembered of the windows",
        "2.6, deadlines and schedules",
        replace(
            ENGINE,
            "return decision.fired is not None or begins or instants",
            "return decision.fired is not None or begins",
        ),
        by=SERVICE
        + "test_windows_later.py::"
        + "test_a_schedule_that_always_fires_does_after_a_change_of_the_registry",
    ),
    tested(
        "resume-without-marker",
        "a process that dies while it resumes leaves everything held",
        "law 8",
        replace(
            OPERATE,
            "puts[key] = Control(scope=scope, resume_pending=True)",
            "puts[key] = Control(scope=scope)",
        ),
        by=SERVICE
        + "test_guards.py::test_a_resume_that_is_cut_short_is_finished_by_the_next_sweep",
    ),
    tested(
        "resume-marker-ignored",
        "no sweep finishes a resume that was cut short",
        "law 8",
        replace(SWEEP, "        await self._finish_resumes()\n", ""),
        by=SERVICE
        + "test_guards.py::test_a_resume_that_is_cut_short_is_finished_by_the_next_sweep",
    ),
    tested(
        "resume-marker-taken-down-first",
        "a resume that fails half way is taken for finished",
        "law 8",
        replace(
            SWEEP,
            '        where = [Where("paused", Op.EQ, 1)]\n',
            '        await self._released(scope)\n        where = [Where("paused", Op.EQ, 1)]\n',
        ),
        by=SERVICE
        + "test_guards.py::test_a_resume_that_fails_half_way_is_finished_by_the_next_sweep",
    ),
    tested(
        "one-bad-partition-stops-the-sweep",
        "a partition that cannot be judged keeps time from all others",
        "law 4",
        replace(
            ENGINE,
            "            if isinstance(answer, Exception):\n",
            "            if isinstance(answer, Exception):\n                raise answer\n",
        ),
        by=RACES + "test_a_partition_that_cannot_be_judged_keeps_time_from_no_other",
    ),
    tested(
        "wakes-during-a-sweep-overslept",
        "what is committed during a sweep waits for the next read of the store",
        "7, within a second",
        replace(
            SWEEP,
            "self._next = _earlier(self._next, swept.next_wake)",
            "self._next = swept.next_wake",
        ),
        by=RACES + "test_what_is_committed_during_a_sweep_is_not_overslept",
    ),
    tested(
        "late-sweep-notified-again-and-again",
        "every sweep that catches up sends a notice",
        "6, Notify",
        replace(SWEEP, "if not self._late or was_late:", "if False:"),
        by=SERVICE + "test_sweep_late.py",
    ),
    tested(
        "ledger-unread-until-a-rollout-is-over",
        "a partition that is touched before a start has evaluated it does not know what another "
        "registry's instance recorded",
        "law 3",
        replace(ENGINE, "refill or stale or self.membership.unevaluated", "refill or stale"),
        by=SERVICE + "test_rolling_deployment.py::"
        "test_what_another_registry_recorded_counts_before_a_start_has_evaluated_everything",
    ),
    tested(
        "registry-given-up-too-early",
        "an instance of another registry that is alive counts as gone at once",
        "law 3",
        replace(ROLLOUT, ">= GONE_AFTER:", ">= timedelta(0):"),
        by=SERVICE + "test_rolling_deployment.py",
    ),
    tested(
        "leaving-mark-believed-after-it-was-taken-back",
        "an instance that said it is alive counts as gone",
        "law 3",
        replace(
            MEMBERSHIP,
            "if record is None or (leaving_at is not None and record.leaving_at != leaving_at):",
            "if record is None:",
        ),
        by=SERVICE
        + "test_rolling_deployment.py::test_a_mark_that_was_taken_back_meanwhile_declares_nobody_gone",
    ),
    tested(
        "frozen-instance-says-nothing",
        "an instance that comes back commits without saying that it is there",
        "law 3",
        replace(MEMBERSHIP, "if self._refreshed is None or self._age() < within:", "if within:"),
        by=SERVICE + "test_rolling_deployment.py",
    ),
    tested(
        "notified-by-every-instance",
        "each instance sends the same notice",
        "6, Notify",
        replace(DEDUPLICATE, "if what in known.dates:", "if not what:"),
        by=SERVICE
        + "test_instances.py::test_a_sweep_that_came_late_is_notified_by_one_of_the_instances",
    ),
    tested(
        "status-of-the-last-decision",
        "a sentence of this instant is shown beside a status that no longer holds",
        "5.2",
        replace(
            ENGINE,
            "    return partition if same else replace(partition, status=status), verdict\n\n\n"
            "def not_stored",
            "    return partition, verdict\n\n\ndef not_stored",
        ),
        by="tests/service/test_status_now.py::"
        + "test_status_and_sentence_agree_before_a_sweep_and_after_a_clock_was_set_back",
    ),
)

DELIVERY = (
    tested(
        "notices-of-others-sent-too",
        "a notice that another instance is about to send is sent twice",
        "6, Notify",
        replace(
            OUTBOX,
            "if entry.kind is EffectKind.NOTIFY and self._shared and target not in self._own:",
            "if not entry:",
        ),
        by=SERVICE
        + "test_instances.py::test_a_notice_is_left_for_a_while_to_the_instance_that_asked_for_it",
    ),
    tested(
        "delivery-recorded-impatiently",
        "a launch that was delivered is delivered again because the store was busy",
        "law 2",
        replace(OUTBOX, "for pause in RECORD_PAUSES_SECONDS:", "for pause in ():"),
        by=SERVICE
        + "test_ingest_parts.py::test_a_delivery_that_cannot_be_recorded_at_once_is_not_made_twice",
    ),
    tested(
        "launches-of-the-dead-forgotten",
        "what a dead instance left undelivered is delivered by no sweep",
        "law 3",
        replace(
            OUTBOX,
            "        await self.discover(ASKED_GRACE if self._shared else timedelta(0))\n",
            "",
        ),
        by=SERVICE
        + "test_instances.py::test_a_sweep_that_is_asked_for_delivers_what_a_dead_instance_left",
    ),
    tested(
        "launches-of-the-living-taken-over",
        "a sweep launches what another instance is launching",
        "law 2",
        replace(OUTBOX, "ASKED_GRACE if self._shared else timedelta(0)", "timedelta(0)"),
        by=SERVICE + "test_instances.py::test_it_leaves_to_a_live_instance_what_that_is_delivering",
    ),
)

STORES = (
    tested(
        "phantom-guard-dropped",
        "a partition commits although a load inside its window came between",
        "law 3",
        replace(
            TRANSACTION,
            "self._hold |= {path(k) for k in guards}",
            "self._hold |= {path(k) for k in guards if False}",
        ),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_a_partition_committed_after_a_load_in_its_window_was_taken_in_sees_it",
    ),
    tested(
        "windows-not-guarded",
        "a partition that begins to watch its windows overlooks the load that is committed meanwhile",
        "law 3",
        replace(ENGINE, "        reading.guards |= days.keys()", "        pass"),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_a_partition_committed_after_a_load_in_its_window_was_taken_in_sees_it",
    ),
    tested(
        "undeclared-guards-dropped",
        "what was decided on documents that changed meanwhile is committed",
        "law 2",
        replace(
            TRANSACTION,
            "guards = docs.keys() if changes.guards is None else changes.guards",
            "guards = changes.guards or ()",
        ),
        by="tests/contract/test_store.py::test_a_guard_holds_what_a_decision_rests_on",
    ),
    tested(
        "ended-pause-set",
        "a partition is held by a pause that ended while it was judged",
        "law 8",
        replace(
            READING,
            "{control_key(p.scope) for p in after.pauses if p not in known}",
            "{control_key(p.scope) for p in after.pauses if not p}",
        ),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_a_pause_that_ended_meanwhile_is_not_set_on_a_partition",
    ),
    tested(
        "turned-away-on-a-remembered-calendar",
        "a load is superseded by a calendar that another process has changed",
        "3.1, Order",
        replace(
            READING,
            "dated = only_looks or bool(self.moved) or self.turned_away",
            "dated = only_looks or bool(self.moved)",
        ),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_an_older_load_is_not_turned_away_on_a_remembered_calendar",
    ),
    tested(
        "memory-believed",
        "a pause that another process set holds nothing here",
        "law 8",
        replace(READING, "only_looks or key.id in scopes", "only_looks"),
        by=FIRESTORE_TESTS
        + "test_service.py::test_a_pause_elsewhere_holds_though_none_is_remembered_here",
    ),
    tested(
        "remembered-calendar-fires",
        "a partition fires without a game that another process has added to the calendar",
        "2, min_coverage",
        replace(
            READING,
            "dated = only_looks or bool(self.moved) or self.turned_away",
            "dated = only_looks or self.turned_away",
        ),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_a_partition_does_not_fire_by_a_remembered_calendar",
    ),
    tested(
        "memory-keeps-what-is-held",
        "a pause that ended elsewhere goes on holding what is evaluated here",
        "law 8",
        replace(READING, "only_looks = not self.puts and", "only_looks = False and"),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_an_evaluation_that_changes_nothing_rests_on_no_remembered_pause",
    ),
    tested(
        "freshness-not-executed",
        "what a decision must not rest on memory for comes from memory",
        "law 8",
        replace(TRANSACTION, "{path(k) for k in fresh} & self.cached", "set()"),
        by=FIRESTORE_TESTS
        + "test_service.py::test_a_pause_elsewhere_holds_though_none_is_remembered_here",
    ),
    tested(
        "undeclared-freshness-dropped",
        "a change that declares nothing is decided on what a process remembers",
        "law 2",
        replace(
            TRANSACTION,
            "fresh = docs.keys() if changes.fresh is None else changes.fresh",
            "fresh = changes.fresh or ()",
        ),
        by=FIRESTORE_TESTS
        + "test_memory.py::test_a_step_that_declares_nothing_rests_on_nothing_remembered",
    ),
    tested(
        "one-late-caller-fails-its-group",
        "a caller whose patience ends takes with it all that share its commit",
        "law 5",
        replace(COMMITS, "if late and len(late) < len(pieces):", "if not pieces:"),
        by=FIRESTORE_TESTS
        + "test_guards.py::test_a_caller_whose_patience_ends_takes_nobody_with_it",
    ),
    tested(
        "heartbeats-behind-events",
        "a heartbeat waits for a burst of events, and its lease ends",
        "law 4",
        replace(
            COMMITS, "(self._pieces if piece.deadline is None else self._urgent)", "self._pieces"
        ),
        by=SERVICE + "test_commits.py::test_whose_patience_has_begun_does_not_wait_for_a_burst",
    ),
    tested(
        "no-end-of-waiting",
        "work waits for a commit for longer than the other registry counts as served",
        "law 3",
        replace(COMMITS, "if now > piece.waits_until:", "if now < 0:"),
        by=SERVICE + "test_commits.py::test_who_has_waited_for_too_long_is_answered",
    ),
    tested(
        "lost-answers-repeated",
        "a commit whose answer was lost is made again",
        "law 2",
        replace(FIRESTORE, "if any(op in row.ops for row in rows.values()):", "if not op:"),
        by=FIRESTORE_TESTS + "test_faults.py::test_a_commit_whose_answer_was_lost_is_not_repeated",
    ),
    tested(
        "preconditions-dropped",
        "two processes that decide at once overwrite each other",
        "law 2",
        Edit(
            file=TRANSACTION,
            after=(
                "_writes = Batch.writes\n\n\n"
                "def _unconditional(self, op):\n"
                "    anything = (WriteMode.UPDATE, WriteMode.CREATE)\n"
                "    return [replace(w, act=WriteMode.SET) if w.act in anything else w\n"
                "            for w in _writes(self, op)]\n\n\n"
                "Batch.writes = _unconditional"
            ),
        ),
        by=FIRESTORE_TESTS
        + "test_faults.py::test_racing_processes_that_change_one_document_lose_no_change",
    ),
    tested(
        "one-bad-document-fails-its-commit",
        "a document that cannot be stored fails all that share its commit",
        "law 5",
        replace(
            SQLITE_WRITER,
            'raise Bug(f"A document cannot be stored:',
            'raise sqlite3.DataError(f"A document cannot be stored:',
        ),
        by=SQLITE_TESTS + "test_one_bad_document_in_a_shared_commit_fails_alone",
    ),
    tested(
        "cache-outlives-another-writer",
        "what another process wrote is not seen",
        "law 2",
        replace(SQLITE_WRITER, "if version != self._data_version:", "if not version:"),
        by=SQLITE_TESTS + "test_processes_that_compete_lose_no_change",
    ),
    tested(
        "absent-ledger-entry-remembered",
        "a load that comes again is taken for a new one",
        "3.3",
        replace(
            SQLITE_WRITER,
            "            if key.kind is not Kind.EVENT:\n                self._cache.put(key, held)\n"
            "        batch.read",
            "            self._cache.put(key, held)\n        batch.read",
        ),
        by=SQLITE_TESTS + "test_the_ledger_takes_no_place_in_the_cache",
    ),
    tested(
        "memo-outlives-its-value",
        "what a table's date covers is shown of another one that took its place in memory",
        "2",
        replace(MEMO, "kept[key] = value, function", "kept[key] = None, function"),
        by="tests/core/test_memo.py::"
        "test_a_value_that_takes_the_place_of_another_in_memory_is_another_one",
    ),
    tested(
        "shown-judgement-outlives-its-time",
        "a partition whose debounce is over is shown as it was",
        "5.2",
        replace(
            READER,
            "before.at <= now and (before.wake_at is None or now < before.wake_at)",
            "before.at <= now",
        ),
        by="tests/service/test_verdicts.py::test_they_are_those_of_the_instant",
    ),
    tested(
        "creates-overwrite",
        "of two who create a document the second replaces the first",
        "law 2",
        replace(
            SQLITE_WRITER,
            "taken = [key for key in answer.creates if docs[key] is not None]",
            "taken = [key for key in () if docs[key] is not None]",
        ),
        by="tests/contract/test_store.py::test_a_create_without_reading_is_run_again_on_what_is_there",
    ),
    tested(
        "moved-file-served",
        "a store whose file was replaced goes on being served",
        "5.2, readyz",
        replace(
            SQLITE_STORE,
            "if self._inode is not None and self._identity() != self._inode:",
            "if self._inode is None and self._identity() != self._inode:",
        ),
        by=SQLITE_TESTS + "test_a_file_that_was_moved_away_fails_the_ping",
    ),
    tested(
        "waiting-without-bound",
        "callers wait without bound while the store stalls",
        "law 7",
        replace(
            SQLITE_STORE,
            "if self._writes.qsize() >= self._waiting_max:",
            "if attempt is None:",
        ),
        by=SQLITE_TESTS + "test_too_many_waiting_is_unavailable",
    ),
)

OVER_HTTP = (
    tested(
        "notices-never-posted",
        "no notice reaches the webhook, and each counts as delivered",
        "6, Notify",
        replace(NOTIFY, "        await _post(self._client, self._url, body, headers)\n", ""),
        by=SERVED,
    ),
    tested(
        "launches-posted-without-changed-games",
        "the launch of a re-fire does not say which games changed",
        "6, Launch",
        replace(
            HTTP,
            "body = json.dumps(message).encode()",
            'body = json.dumps({**message, "changed_games": []}).encode()',
        ),
        by=SERVED,
    ),
)
"""Of what only a served process has; its judge catches them."""

INSTANTS = (
    simulated(
        "edited-instants-act",
        "an edit that puts a deadline or schedule into the past replays it on old dates",
        "4.1, Registry changes",
        replace(
            SCHEDULE,
            "return all(since is None or at >= since for since in set_since)",
            "return bool(at)",
        ),
    ),
    simulated(
        "deadline-under-a-run-unsaid",
        "a deadline that passes while a run is live sends no notice",
        "2, Deadlines",
        replace(
            TIMERS,
            "if run is None or _skips_its_date(draft):",
            "if draft:",
        ),
    ),
    tested(
        "outputs-ordered-by-timestamp",
        "after a clock step the output of an earlier generation counts",
        "3.1, Order",
        replace(
            ARRIVALS,
            "if mine is not None and theirs is not None and mine[0] == theirs[0]:",
            "if mine is not None and theirs is not None and not mine:",
        ),
        by="tests/core/test_arrivals.py::test_the_outputs_of_a_processor_are_ordered_by_generation",
    ),
    tested(
        "repeated-report-refused",
        "a report that is repeated after a reset is answered with 409",
        "5.3",
        replace(
            LIVE_RUNS,
            "_end(draft, run, fact.status, fact.record_count, error, token=fact.token)",
            "_end(draft, run, fact.status, fact.record_count, error)",
        ),
        by=API + "test_runs.py::test_a_report_is_taken_again_at_any_later_time",
    ),
    simulated(
        "part-taken-for-the-whole",
        "a partial load that names no games meets a requirement in full",
        "3.1, status",
        replace(
            ARRIVALS,
            "        if self.status is not LoadStatus.PARTIAL:\n            return True\n",
            "        if self.status:\n            return True\n",
        ),
        replace(
            ARRIVALS,
            "return self.status is not LoadStatus.PARTIAL or game_id in self.game_ids",
            "return bool(game_id)",
        ),
    ),
    tested(
        "optional-met-by-the-calendar-ignored",
        "optional data that a calendar change completes never fires again",
        "2, Dirty",
        replace(
            NEWER,
            "if r.requirement.critical or consumed is None or consumed.met or before is None:",
            "if not r.requirement.key:",
        ),
        replace(
            NEWER,
            "return bool(games) and games != before.get(game_date)",
            "return bool(games) and consumed is None and before is None",
        ),
        by="tests/core/test_readiness.py::"
        + "test_an_optional_requirement_that_is_met_since_the_calendar_changed_is_newer_data",
    ),
    tested(
        "wrong-games-kept-without-bound",
        "thousands of wrong game ids make a date too large to be stored",
        "3.1, grain",
        replace(
            ARRIVALS, "    if len(games) <= most:\n        return games\n    wanted", "    wanted"
        ),
        replace(ARRIVALS, "    if len(others) <= most:", "    if most:"),
        by=API + "test_limits.py::test_three_thousand_wrong_games_keep_no_good_load_out",
    ),
    tested(
        "windows-judged-from-memory",
        "`why` of what succeeded shows its windows as they were at the last decision",
        "5.2",
        replace(
            ENGINE,
            "days = judged_windows(reading, spec, target[1], now, None) if spec.windows else None",
            "days = judged_windows(reading, spec, target[1], now, None) if not target else None",
        ),
        by=SERVICE + "test_windows.py::test_why_of_what_succeeded_judges_its_windows_as_they_are",
    ),
    tested(
        "pending-work-closed-early",
        "a load that comes while its date is evaluated is never evaluated",
        "law 3",
        replace(
            PENDING,
            "if now is not None and now.serial == record.serial:",
            "if now is not None and record.table:",
        ),
        by=SERVICE
        + "test_windows.py::test_a_load_that_comes_while_its_date_is_evaluated_is_evaluated_too",
    ),
    tested(
        "keys-shared-by-tables",
        "events of a table with `__` in its name share keys with another's",
        "2, Registry",
        replace(
            REGISTRY_RULES,
            'if _TABLE_NAME.fullmatch(value) and "__" not in value:',
            "if _TABLE_NAME.fullmatch(value):",
        ),
        by=SERVICE
        + "test_keys.py::test_a_table_whose_events_would_share_keys_with_another_is_refused",
    ),
)

RECEIVERS = (
    tested(
        "time-in-the-queue-counts",
        "launches that wait in the local pool count as delivered, and fail as unclaimed",
        "4, local pool",
        replace(
            LOCAL,
            "return max(0, self._workers - len(self._tasks) - len(self._taken_up))",
            "return 1000",
        ),
        replace(
            LOCAL,
            "            self._begin(attempt, message)\n        return",
            "            self.take_up(run.run_id, run.attempt, message)\n        return",
        ),
        by="tests/adapters/test_launchers.py::"
        + "test_a_launch_is_delivered_only_to_a_worker_that_is_free",
    ),
    tested(
        "lanes-shared",
        "a notifier that hangs delays launches",
        "4, a slow target delays no other",
        replace(
            OUTBOX,
            "        if name not in self._lanes:\n",
            '        name = LaneName(EffectKind.LAUNCH, "")\n        if name not in self._lanes:\n',
        ),
        by=SERVICE + "test_lanes.py",
    ),
    tested(
        "bodies-read-without-end",
        "a target that answers 2xx and then drips holds its launch",
        "4, a slow target delays no other",
        replace(OUTGOING, "BODY_SECONDS = 1.0", "BODY_SECONDS = 20.0"),
        by="tests/adapters/test_launchers.py::test_a_2xx_is_proof_whatever_its_body_does",
    ),
    tested(
        "ready-without-a-write",
        "`/readyz` says 200 while every write fails",
        "5, readyz",
        replace(HEALTH, "store.prove_writable()", "store.ping()"),
        by=API + "test_writable.py::test_a_database_that_is_read_only",
    ),
    tested(
        "limit-before-filter",
        "partitions of a removed processor hide those that are late",
        "5, readyz",
        replace(
            ENGINE,
            "if self.mine or whole.next_page_token is None or len(found) == len(whole.items):",
            "if query:",
        ),
        by=SERVICE + "test_instances.py::test_partitions_of_a_removed_processor_hide_nothing",
    ),
    tested(
        "any-host-answered",
        "a web page whose name resolves to 127.0.0.1 uses an open service",
        "5.4, open loopback",
        replace(
            EDGE,
            "if len(named) != 1 or not self._hosts.answers_to(named[0]):",
            "if len(named) != 1:",
        ),
        by=API + "test_hosts.py::test_another_name_is_answered_on_no_route",
    ),
    tested(
        "listeners-without-limit",
        "listeners that read nothing take memory without bound",
        "law 7",
        replace(STREAM, "if self._listeners >= LISTENERS_MAX:", "if not self:"),
        by=API + "test_listeners.py::test_listeners_that_cannot_be_sent_to_count",
    ),
    tested(
        "terminal-escapes-printed",
        "an event moves the cursor of whoever reads its error",
        "7",
        replace(TERMINAL, "    if character.isprintable():\n", "    if character:\n"),
        by="tests/cli/test_output.py::test_what_is_shown_is_printable_and_one_line",
    ),
    tested(
        "registry-parsed-for-each-event",
        "during a rolling deployment each event blocks the event loop",
        "5",
        replace(MEMBERSHIP, "if name not in self._parsed:", "if record.text:"),
        by=SERVICE
        + "test_rolling_deployment.py::test_another_registry_is_parsed_once_and_off_the_event_loop",
    ),
)

RUNNERS = (
    tested(
        "spooled-events-not-synced",
        "a power cut loses events of loads that are done",
        "law 5",
        replace(SPOOL, "                os.fsync(file.fileno())\n", ""),
        by="tests/processors/test_spool.py::test_an_event_is_on_the_disk_before_it_has_its_name",
    ),
    tested(
        "spool-without-a-lock",
        "two processes send the same spooled events, out of order",
        "3.1, Order",
        replace(SPOOL, "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
        by="tests/processors/test_spool.py::"
        + "test_processes_that_send_at_once_send_everything_once",
    ),
    tested(
        "undelivered-events-dropped",
        "an event that could not be sent leaves the spool",
        "law 5",
        replace(
            PUBLISHER,
            "                            if not is_rejected(error):\n",
            "                            if not event:\n",
        ),
        by="tests/processors/test_spool.py::"
        + "test_events_of_an_outage_arrive_in_order_with_the_next_one",
    ),
    tested(
        "reports-given-up",
        "a finished run is lost because the coordinator restarts",
        "5.3",
        replace(RUNNER, "lambda _: held.seconds_left <= 0)", "lambda _: held is not None)"),
        by="tests/processors/test_runner.py::"
        + "test_a_completion_outlasts_a_coordinator_that_is_out_of_order",
    ),
    tested(
        "leases-by-the-wall-clock",
        "a runner whose clock is ahead takes every lease for lost",
        "5.3",
        replace(
            RUNNER,
            "        self._length = lease.lease_seconds or 0.0\n",
            '        expires = datetime.fromisoformat(str(lease.answer["lease_expires_at"]))\n'
            "        self._length = (expires - datetime.now(expires.tzinfo)).total_seconds()\n",
        ),
        by="tests/processors/test_runner.py::test_clocks_need_not_agree_about_a_lease",
    ),
    tested(
        "launch-believed-over-its-run",
        "a launch whose generation is not its run's writes rows under that generation",
        "law 2",
        replace(LAUNCH, "if of_run != own:", "if not of_run:"),
        by="tests/processors/test_runner.py::"
        + "test_a_launch_that_differs_from_its_run_is_never_claimed",
    ),
    tested(
        "launch-believed-over-its-claim",
        "a launch that differs from the run that was claimed is executed",
        "law 2",
        replace(
            LAUNCH,
            "if type(granted) is not type(own) or granted != own:",
            "if granted is None:",
        ),
        by="tests/processors/test_runner.py::test_what_the_claim_answers_is_the_truth",
    ),
    tested(
        "lines-not-checked",
        "a wrong home flag gives a game four team rows, and the load succeeds",
        "law 5",
        replace(
            SEASON,
            "if (broken := broken_rule(line, game)) is not None:",
            "if (broken := broken_rule(line, game)) == ():",
        ),
        by="tests/processors/test_raw_loads.py::test_a_line_that_contradicts_the_schedule_is_named",
    ),
    tested(
        "rows-not-checked",
        "a load commits two rows of one key",
        "law 5",
        replace(
            WAREHOUSE, "    if broken:\n        *values", "    if broken == ():\n        *values"
        ),
        by="tests/processors/test_warehouse.py::"
        + "test_rows_that_break_a_rule_of_the_table_replace_nothing",
    ),
    tested(
        "hung-runs-keep-their-worker",
        "a run that hangs holds its worker past `run_timeout`",
        "2, run_timeout",
        replace(
            WORKER_POOL,
            "            try:\n                async with asyncio.timeout(limit):\n",
            "            try:\n                async with asyncio.timeout(limit * 3):\n",
        ),
        by="tests/processors/test_worker_pool.py::"
        + "test_a_run_that_hangs_is_interrupted_and_its_worker_replaced",
    ),
)

BUGS: tuple[Bug, ...] = (
    *HOLDS,
    *JUDGEMENT,
    *TIME,
    *RUN,
    *INTAKE,
    *DECIDING,
    *DELIVERY,
    *STORES,
    *OVER_HTTP,
    *INSTANTS,
    *RECEIVERS,
    *RUNNERS,
)
