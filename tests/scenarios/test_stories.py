"""The stories in this folder, played by the code behind ``coordinator scenario run``."""

import json
import re
from pathlib import Path

import pytest

from coordinator.scenario import StoryError, play, play_file, run_files

HERE = Path(__file__).parent
STORIES = sorted(HERE.glob("*.yaml"))

STORY = """\
story: A small one
registry:
  version: 1
  timezone: America/New_York
  tables:
    nba_raw.box: {}
  processors:
    Summary:
      phase: 3
      output: nba_analytics.summary
      requires: [{table: nba_raw.box}]
start: "2025-11-16T08:00:00Z"   # eight in the morning, UTC
game_date: "2025-11-15"
steps:
  # the only load
  - event: {table: nba_raw.box, record_count: 20}
    expect:
      outcome: applied   # as it should be
      launches: [{run_id: "Summary:2025-11-15:1"}]
"""


def test_the_page_on_stories_shows_what_its_story_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (HERE.parents[1] / "docs" / "how-to-scenarios.md").read_text(encoding="utf-8")
    story = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    shown = re.findall(r"```console\n\$ coordinator scenario run .*?\n(.*?)```", page, re.DOTALL)
    file = Path("stories") / "late-game.yaml"
    (tmp_path / file).parent.mkdir()
    monkeypatch.chdir(tmp_path)
    for text, output in zip(
        [story, story.replace("notices: [deadline]", "notices: []")], shown, strict=True
    ):
        file.write_text(text, encoding="utf-8")
        run_files([file])
        assert capsys.readouterr().out == output


@pytest.mark.parametrize("path", STORIES, ids=lambda p: p.stem)
def test_a_story_goes_as_it_expects(path: Path) -> None:
    result = play_file(path)
    assert result.ok, "\n".join(map(str, result.mismatches))
    assert result.checks >= 3, "a story that expects next to nothing proves nothing"


def test_there_is_a_story_for_every_failure() -> None:
    numbers = [int(p.name[:2]) for p in STORIES if p.name[:2].isdigit()]
    assert sorted(set(numbers)) == list(range(1, 33))


def test_the_story_in_the_documentation_goes_as_it_expects() -> None:
    page = (HERE.parents[1] / "docs" / "how-to-scenarios.md").read_text("utf-8")
    (story,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    result = play(story)
    assert result.ok, "\n".join(map(str, result.mismatches))


def test_a_story_that_differs_says_where_and_what() -> None:
    result = play(STORY.replace("outcome: applied", "outcome: superseded"), "small.yaml")
    assert [str(m) for m in result.mismatches] == [
        "small.yaml:18:7: outcome\n    expected  superseded\n    got       applied"
    ]


def test_an_update_rewrites_what_differs_and_keeps_comments(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    wrong = STORY.replace("outcome: applied", "outcome: superseded").replace(':1"}]', ':7"}]')
    path.write_text(wrong)
    assert run_files([path]) == 1
    assert run_files([path], update=True) == 0
    text = path.read_text()
    assert re.search(r"outcome: applied +# as it should be", text)
    assert '[{run_id: "Summary:2025-11-15:1"}]' in text
    assert "# the only load" in text
    assert "# eight in the morning, UTC" in text
    assert play(text).ok


def test_an_update_of_a_story_that_goes_well_leaves_its_bytes_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STORY)
    assert run_files([path], update=True) == 0
    assert path.read_text() == STORY


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("- event:", "- evnt:", r"small\.yaml:16:5: 'evnt' means nothing in a step"),
        ("      outcome:", "      outcom:", r"small\.yaml:18:7: 'outcom' means nothing in expect"),
        ("{table: nba_raw.box}]", "{table: nba_raw.bocks}]", r"small\.yaml:11:\d+"),
        ("phase: 3", "phase: three", r"small\.yaml:9:14"),
        ('start: "2025', 'start: "soon', r"small\.yaml:12:1: must be an instant"),
        ("story: A", "story: [A", r"small\.yaml:\d+:\d+"),
        ("{table: nba_raw.box, record", "{record", r"small\.yaml:16:\d+: table is missing"),
        ("event: {", "at: yesterday\n    event: {", r"small\.yaml:16:5: must be a duration"),
        ("launches: [{", "partitions: [{", r"small\.yaml:19:7: must be a mapping"),
        (
            "event: {",
            "claim: {run: Summary, attempt: x}\n    at: +1s #",
            r"small\.yaml:16:5: cannot",
        ),
        ("event: {", "sweep: true\n    event: {", r"small\.yaml:17:5: a step does one thing"),
    ],
)
def test_a_mistake_in_a_story_names_its_place(old: str, new: str, place: str) -> None:
    assert old in STORY
    with pytest.raises(StoryError, match=place):
        play(STORY.replace(old, new), "small.yaml")


def test_files_that_cannot_be_played_are_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("steps: 3\n")
    assert run_files([tmp_path]) == 2
    assert re.search(r"bad\.yaml:1:1: registry is missing", capsys.readouterr().err)
    assert run_files([tmp_path / "none"]) == 2
    (tmp_path / "empty").mkdir()
    assert run_files([tmp_path / "empty"]) == 2


def test_json_lists_every_story_and_every_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(STORY)
    (tmp_path / "b.yaml").write_text(STORY.replace("outcome: applied", "outcome: refused"))
    assert run_files([tmp_path], json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert [i["ok"] for i in found["items"]] == [True, False]
    (mismatch,) = found["items"][1]["mismatches"]
    assert mismatch["line"] == 18
    assert (mismatch["expected"], mismatch["got"]) == ("refused", "applied")
    assert found["errors"] == []
