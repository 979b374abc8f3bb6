"""Nights played through the whole service: every run once, and the points of the schedule."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from coordinator.demo import DemoOptions, Moment, Playing, Summary, play
from coordinator.errors import BadInput, Unavailable
from processors.raw.season import Season, read_folder
from processors.sample import sample_season
from tests.cli.support import REGISTRY, ROOT, environment, free_port, invoke, run, wait_for

PHASE_3 = {
    *("PlayerGameSummaryProcessor", "TeamOffenseSummaryProcessor", "TeamDefenseSummaryProcessor"),
}


@dataclass
class Recorder:
    """An audience that remembers."""

    moments: list[Moment] = field(default_factory=list)
    playing: list[Playing] = field(default_factory=list)
    done: int = 0

    def began(self, playing: Playing) -> None:
        self.playing.append(playing)

    def moment(self, moment: Moment) -> None:
        self.moments.append(moment)

    def played(self, at: object, done: int) -> None:
        self.done = done

    def serving(self, url: str, summary: Summary) -> None:
        raise AssertionError("it was not asked to serve")


def played(options: DemoOptions) -> tuple[Summary, Recorder]:
    recorder = Recorder()
    return asyncio.run(play(options, recorder)), recorder


def check_runs(summary: Summary) -> None:
    """Each expected partition fired first for its dependencies, then only for late data."""
    assert summary.failures == ()
    assert {p.processor for p in summary.partitions} == PHASE_3
    for partition in summary.partitions:
        if not partition.games:
            assert (partition.status, partition.runs) == ("not_expected", ())
            continue
        assert partition.status == "succeeded"
        assert [run.generation for run in partition.runs] == list(
            range(1, partition.generation + 1)
        )
        assert [run.trigger for run in partition.runs] == [
            "dependencies",
            *["late_data"] * (partition.generation - 1),
        ]
        assert {(run.status, run.attempts) for run in partition.runs} == {("success", 1)}
        gaps = [
            (later.fired_at - earlier.fired_at).total_seconds()
            for earlier, later in zip(partition.runs, partition.runs[1:], strict=False)
        ]
        assert all(gap >= 3600 for gap in gaps), "newer data waits for the cooldown of an hour"


def check_points(folder: Path, season: Season, first: date, last: date) -> None:
    """The points of each team in each game are those of the schedule, in every output."""
    games = [
        game
        for game in season.games
        if first <= game.game_date <= last and game.game_id in season.lines_of
    ]
    expected = {(g.game_id, g.home_team): g.home_score for g in games}
    expected |= {(g.game_id, g.away_team): g.away_score for g in games}
    columns = {
        "nba_analytics.player_game_summary": "points",
        "nba_analytics.team_offense_game_summary": "points",
        "nba_analytics.team_defense_game_summary": "points_scored",
    }
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        for table, points in columns.items():
            found = warehouse.execute(
                f"SELECT game_id, team, sum({points}) FROM {table} GROUP BY ALL"
            ).fetchall()
            assert {(game, team): int(total) for game, team, total in found} == expected


def test_some_nights_of_the_sample_season(tmp_path: Path) -> None:
    first, last = date(2024, 10, 26), date(2024, 10, 30)
    options = DemoOptions(registry=REGISTRY, keep=tmp_path / "kept", first=first, last=last)
    summary, recorder = played(options)
    check_runs(summary)
    check_points(tmp_path / "kept", sample_season(), first, last)
    assert (tmp_path / "kept" / "state.db").is_file()
    assert summary.dates == 4, "the 27th is an off day"
    assert recorder.done == recorder.playing[0].loads == summary.events_sent
    assert summary.events == {"applied": summary.events_sent - 1, "duplicate": 1}
    kinds = Counter(moment.kind for moment in recorder.moments)
    assert kinds["fired"] == kinds["ended"] == summary.runs
    assert kinds["mishap"] == 3
    late = next(m for m in recorder.moments if "hours late" in m.words)
    fired = [
        run.fired_at
        for p in summary.partitions
        if p.game_date == late.game_date
        for run in p.runs
        if run.generation == 1
    ]
    assert all(at >= late.at for at in fired), "nothing fires before its late critical input"


def test_the_same_seed_gives_the_same_replay() -> None:
    options = DemoOptions(registry=REGISTRY, first=date(2024, 10, 22), last=date(2024, 10, 23))
    (one, _), (two, _) = played(options), played(options)
    assert one.partitions == two.partitions


@pytest.mark.data
def test_some_nights_of_real_box_scores(test_data: Path, tmp_path: Path) -> None:
    first, last = date(2024, 11, 26), date(2024, 11, 29)
    options = DemoOptions(
        registry=REGISTRY, data=test_data, keep=tmp_path / "kept", first=first, last=last
    )
    summary, _ = played(options)
    check_runs(summary)
    season = read_folder(test_data)
    check_points(tmp_path / "kept", season, first, last)
    days = [first + timedelta(days=n) for n in range(4)]
    assert [p.games for p in summary.partitions[::3]] == [len(season.played_on(d)) for d in days]


def test_a_replay_starts_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    with pytest.raises(BadInput, match=r"already holds a state\.db"):
        played(DemoOptions(registry=REGISTRY, keep=tmp_path))


def test_dates_without_data_are_refused_with_those_that_have(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="2024-10-22 to 2024-11-04"):
        played(DemoOptions(registry=REGISTRY, first=date(2030, 1, 1)))
    with pytest.raises(BadInput, match="schedule"):
        played(DemoOptions(registry=REGISTRY, data=tmp_path))


def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="--port"):
            played(DemoOptions(registry=REGISTRY, port=int(taken.getsockname()[1])))


# ── the verb ─────────────────────────────────────────────────────────────────────────────────


def test_the_verb_gives_json_alone_on_stdout() -> None:
    ran = run("demo", "--to", "2024-10-22", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["failures"] == []
    assert len(ran.json["partitions"]) == 3


def test_the_command_prints_lines_and_a_table() -> None:
    ran = run("demo", "--to", "2024-10-22")
    assert (ran.code, ran.err) == (0, "")
    assert "TeamDefenseSummaryProcessor success" in ran.out
    assert "1 date with games, 2 games" in ran.out
    assert "\x1b" not in ran.out


def test_the_verb_ends_with_1_where_something_did_not_succeed(tmp_path: Path) -> None:
    broken = tmp_path / "registry.yaml"
    entrypoint = 'entrypoint: "processors.analytics:TeamDefenseSummaryProcessor"'
    text = REGISTRY.read_text(encoding="utf-8")
    assert entrypoint in text
    broken.write_text(text.replace(entrypoint, 'entrypoint: "processors.analytics:Absent"'))
    ran = run("demo", "--to", "2024-10-22", "--registry", str(broken), "--json")
    assert ran.code == 1
    assert "TeamDefenseSummaryProcessor 2024-10-22" in ran.err
    assert len(ran.json["failures"]) == 1


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_the_service_continues_until_it_is_stopped(tmp_path: Path, word: signal.Signals) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "coordinator", "demo", "--serve", "--port", str(port)),
                *("--to", "2024-10-22"),
            ],
            cwd=ROOT,
            env=environment(PYTHONPATH=str(ROOT)),
            stdout=out,
            stderr=subprocess.STDOUT,
            # A shell's background job ignores SIGINT, and so would its children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        try:
            wait_for(url, process)
            wait_for_line(tmp_path / "out", "The service goes on at")
            status: Any = httpx.get(f"{url}/v1/status/2024-10-22").json()
            assert {item["status"] for item in status["items"]} == {"succeeded"}
            loaded = invoke(
                *("events", "send", "-", "--json", "--url", url),
                stdin=json.dumps(an_event_of_now()),
            )
            assert loaded.json["outcomes"] == {"applied": 1}
            with httpx.stream("GET", f"{url}/v1/stream") as changes:
                assert changes.status_code == 200
                process.send_signal(word)
                for _ in changes.iter_bytes():  # until the service ends it
                    pass
            code = process.wait(timeout=20)
        finally:
            process.kill()
            process.wait()
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert code == 0, text
    assert f"coordinator status 2024-10-22 --url {url}" in text
    assert "Traceback" not in text


def an_event_of_now() -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": "nba_raw.nbac_team_stats",
        "game_date": "2024-12-24",
        "status": "success",
        "record_count": 4,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def wait_for_line(file: Path, words: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while words not in file.read_text(encoding="utf-8"):
        assert time.monotonic() < until, file.read_text(encoding="utf-8")
        time.sleep(0.05)
