"""Stories: a registry, timed steps and what is expected, played on a virtual clock.

``play`` plays one story; ``run_files`` plays files and says what differs, for the command line.
"""

from coordinator.scenario.player import Mismatch, Result, play, play_file
from coordinator.scenario.report import run_files
from coordinator.scenario.story import StoryError

__all__ = ["Mismatch", "Result", "StoryError", "play", "play_file", "run_files"]
