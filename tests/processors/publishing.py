"""A publisher as a process of its own: publishes numbered events until all are published or it is killed.

Arguments: URL, the spool's folder, the first number, how many, the budget in seconds. Each number
is written to standard output once publish() is back.
"""

import itertools
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from processors.publisher import HttpTransport, RawDataPubSubPublisher
from processors.spool import Spool


def now() -> datetime:
    return datetime.now(UTC)


def main(url: str, folder: str, first: int, count: int, budget: float) -> None:
    ids = (f"{first}-{n}" for n in itertools.count())
    with HttpTransport(url, clock=now, new_id=lambda: next(ids)) as transport:
        publisher = RawDataPubSubPublisher(
            transport,
            clock=now,
            new_id=lambda: next(ids),
            spool=Spool(Path(folder)),
            budget_seconds=budget,
        )
        for number in range(first, first + count):
            event = publisher.raw_data_loaded(
                table="nba_raw.bdl_player_boxscores",
                processor_name="BdlPlayerBoxscoresProcessor",
                game_date=date(2024, 10, 22),
                game_ids=[],
                record_count=number,
                status="success",
                execution_id=f"load-{number}",
            )
            publisher.publish(event)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
