"""Publishing while the coordinator is away: nothing lost, nothing out of order, nobody held up."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog

from processors.errors import SpoolError
from processors.publisher import Flushed, HttpTransport, RawDataPubSubPublisher
from processors.raw import tables as raw
from processors.raw.loader import RawLoader
from processors.spool import Spool
from tests.cli.support import free_port, run
from tests.processors.support import NOW, Bench
from tests.processors.test_publisher import DAY, Service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture
def transports() -> Iterator[Callable[[str], HttpTransport]]:
    """Makes transports and closes them."""
    made: list[HttpTransport] = []

    def make(url: str) -> HttpTransport:
        ids = count(1)
        made.append(
            HttpTransport(
                url,
                clock=lambda: NOW,
                new_id=lambda: f"m{next(ids)}",
                first_wait_seconds=0.01,
                max_wait_seconds=0.05,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def publisher_of(
    transport: HttpTransport, spool: Spool | None, budget: float = 1
) -> RawDataPubSubPublisher:
    ids = count(1)
    return RawDataPubSubPublisher(
        transport,
        clock=lambda: NOW,
        new_id=lambda: f"id{next(ids)}",
        spool=spool,
        budget_seconds=budget,
        outage_seconds=0.3,
    )


def event(publisher: RawDataPubSubPublisher, number: int) -> dict[str, Any]:
    return publisher.raw_data_loaded(
        table=raw.BDL_BOXSCORES,
        processor_name="BdlPlayerBoxscoresProcessor",
        game_date=DAY,
        game_ids=[],
        record_count=number,
        status="success",
        execution_id=f"load-{number}",
    )


def numbers(service: Service) -> list[int]:
    """The record counts of what arrived, in order."""
    return [each["record_count"] for each in service.events]


def numbers_after(publisher: RawDataPubSubPublisher, service: Service) -> list[int]:
    """The record counts of what arrives with one more flush."""
    before = len(service.events)
    publisher.flush()
    return numbers(service)[before:]


def test_events_of_an_outage_arrive_in_order_with_the_next_one(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    service.answers = [404] * 10_000  # one try each, so none is still on its way afterwards
    publisher = publisher_of(transports(service.url), Spool(tmp_path))
    assert [publisher.publish(event(publisher, n)) for n in range(4)] == [None] * 4
    assert {each["record_count"] for each in service.events} == {0}, "a later one went first"
    assert Spool(tmp_path).state().events == 4
    service.answers, service.got = [], []
    assert publisher.publish(event(publisher, 4)) is not None
    assert numbers(service) == [0, 1, 2, 3, 4]
    assert Spool(tmp_path).state().events == 0
    assert (publisher.published_count, publisher.failed_count) == (5, 0)


def test_a_load_is_published_after_an_outage(
    service: Service, bench: Bench, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    service.answers = [404] * 10_000  # one try each, so none is still on its way afterwards
    publisher = publisher_of(transports(service.url), Spool(tmp_path))
    loader = RawLoader(bench.season, bench.warehouse, publisher)
    report = loader.load(raw.BDL_BOXSCORES, DAY, loaded_at=NOW)
    assert report.message_id is None
    assert bench.warehouse.row_count(raw.BDL_BOXSCORES, DAY) == report.replaced.inserted > 0
    service.answers, service.got = [], []
    assert publisher.flush().sent == 1
    assert service.events == [report.event]


@pytest.mark.parametrize("answer", [401, 403, 404, 429, 500, 503])
def test_what_may_be_accepted_later_is_kept(
    service: Service,
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    answer: int,
) -> None:
    service.answers = [answer] * 10_000
    publisher = publisher_of(transports(service.url), Spool(tmp_path))
    assert publisher.publish(event(publisher, 1)) is None
    assert Spool(tmp_path).state().events == 1
    assert publisher.failed_count == 0


@pytest.mark.parametrize("answer", [400, 413, 422])
def test_an_event_that_is_rejected_for_good_is_set_aside_and_holds_up_no_other(
    service: Service,
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    answer: int,
) -> None:
    service.answers = [answer]
    spool = Spool(tmp_path)
    publisher = publisher_of(transports(service.url), spool)
    assert publisher.publish(event(publisher, 1)) is None
    assert publisher.publish(event(publisher, 2)) is not None
    assert numbers(service) == [1, 2]
    assert (spool.state().events, spool.state().set_aside) == (0, 1)
    assert publisher.failed_count == 1


@pytest.mark.parametrize(
    "content",
    [b"", b'{"event_type": "raw_data_lo', b"[1]", b"\xff\xfe\x00", b"[" * 100_000, b"null"],
)
def test_a_corrupt_entry_is_set_aside_and_holds_up_no_other(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path, content: bytes
) -> None:
    spool = Spool(tmp_path)
    publisher = publisher_of(transports(service.url), spool)
    names = [spool.append(event(publisher, n)) for n in range(3)]
    (tmp_path / names[1]).write_bytes(content)
    (tmp_path / "0000000000000009-0badf00d.json.unfinished").write_bytes(content)
    (tmp_path / "README").write_text("not an event")
    flushed = publisher.flush()
    assert (flushed.sent, flushed.kept, flushed.set_aside) == (2, 0, 1)
    assert numbers(service) == [0, 2]
    assert (tmp_path / "set-aside" / names[1]).read_bytes() == content
    publisher.publish(event(publisher, 3))
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.skipif(os.name != "posix", reason="pipes and symbolic links are POSIX's")
@pytest.mark.parametrize("kind", ["directory", "full directory", "pipe", "link", "dangling link"])
def test_an_entry_that_is_no_file_is_set_aside_and_holds_up_no_other(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    publisher = publisher_of(transports(service.url), spool)
    entry = folder / "0000000000000000-0badf00d.json"
    if kind == "pipe":
        os.mkfifo(entry)
    elif "link" in kind:
        (tmp_path / "secret").write_text("{}")
        entry.symlink_to(tmp_path / ("secret" if kind == "link" else "nowhere"))
    else:
        entry.mkdir()
        if kind == "full directory":
            (entry / "file").touch()
    with structlog.testing.capture_logs() as logged:
        assert publisher.publish(event(publisher, 1)) is not None
    assert os.listdir(folder / "set-aside") == [entry.name]
    assert numbers(service) == [1]
    (line,) = [each for each in logged if each["event"] == "spooled_event_set_aside"]
    assert line["reason"] == "it is not a regular file"
    assert publisher.flush() == Flushed(0, 0, 0)


@pytest.mark.parametrize(
    ("error", "aside"),
    [
        (PermissionError(errno.EACCES, "no"), 1),
        (OSError(errno.EIO, "bad sector"), 1),
        (OSError(errno.EMFILE, "too many open files"), 0),
    ],
)
def test_only_what_stays_unreadable_is_set_aside(
    service: Service,
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    aside: int,
) -> None:
    spool = Spool(tmp_path)
    publisher = publisher_of(transports(service.url), spool)
    first, _ = (spool.append(event(publisher, n)) for n in range(2))
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == first:
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fails)
    flushed = publisher.flush()
    assert (flushed.sent, flushed.set_aside) == (aside, aside)
    assert flushed.kept == (0 if aside else 2), "after an error it counts what is really there"
    assert (flushed.error is None) == bool(aside)
    monkeypatch.undo()
    assert numbers(service) + numbers_after(publisher, service) == ([1] if aside else [0, 1])


def test_a_folder_that_vanishes_is_made_again(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    publisher = publisher_of(transports(service.url), spool)
    shutil.rmtree(folder)
    assert publisher.flush() == Flushed(0, 0, 0)
    shutil.rmtree(folder)
    service.answers = [503] * 10_000
    assert publisher.publish(event(publisher, 1)) is None
    assert (spool.state().events, publisher.failed_count) == (1, 0), "the event was lost"
    (folder / "set-aside").rmdir()
    service.answers, service.got = [422], []
    assert publisher.publish(event(publisher, 2)) is not None
    assert (spool.state().events, spool.state().set_aside) == (0, 1)


@pytest.mark.parametrize("rubbish", [None, [], "text", 7])
@pytest.mark.parametrize("spooled", [True, False])
def test_what_is_no_event_is_refused_in_words(
    service: Service,
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    rubbish: Any,
    spooled: bool,
) -> None:
    spool = Spool(tmp_path)
    publisher = publisher_of(transports(service.url), spool if spooled else None)
    with pytest.raises(TypeError, match=r"an event must be a mapping, .* not "):
        publisher.publish(rubbish)
    assert spool.state().events == 0
    assert service.got == []


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.unfinished").write_text("somebody else's")
    (tmp_path / "more.unfinished").mkdir()
    (tmp_path / "0000000000000009-0badf00d.json.unfinished").mkdir()
    spool = Spool(tmp_path)
    name = spool.append({"n": 1})
    assert spool.names() == [name]
    assert (tmp_path / "report.unfinished").read_text() == "somebody else's"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_its_owner_can_read_a_spool(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "spool"
    before = os.umask(0)
    try:
        spool = Spool(folder)
        first, second = spool.append({"n": 1}), spool.append({"n": 2})
        spool.set_aside(first, "for the test")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (folder, folder / "set-aside")}
    assert set(modes.values()) == {0o700}, modes
    files = (folder / second, folder / "append.lock", folder / "set-aside" / first)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_an_event_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, synced, real = Spool(tmp_path), list[tuple[int, list[str]]](), os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, spool.names()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    name = spool.append({"number": 1})
    file, folder = (tmp_path / name).stat().st_ino, tmp_path.stat().st_ino
    assert synced == [(file, []), (folder, [name])]


def test_a_spool_is_bounded_in_files_and_bytes(tmp_path: Path) -> None:
    few = Spool(tmp_path / "few", max_files=2)
    few.append({"n": 1})
    few.append({"n": 2})
    with pytest.raises(SpoolError, match="2 of 2 events"):
        few.append({"n": 3})
    small = Spool(tmp_path / "small", max_bytes=100)
    small.append({"n": "x" * 80})
    with pytest.raises(SpoolError, match="of 100 bytes; send them with `coordinator events flush`"):
        small.append({"n": "x" * 80})
    assert small.state().bytes <= 100
    with pytest.raises(ValueError, match="1 or more"):
        Spool(tmp_path, max_files=0)


def test_what_a_full_spool_does_not_take_is_sent_at_once_or_counted(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    service.answers = [503] * 10_000
    publisher = publisher_of(transports(service.url), Spool(tmp_path, max_files=1))
    assert publisher.publish(event(publisher, 1)) is None
    assert publisher.publish(event(publisher, 2)) is None
    assert publisher.failed_count == 1
    service.answers = []
    assert publisher.publish(event(publisher, 3)) is not None
    assert publisher.failed_count == 1


def test_a_spool_that_cannot_be_written_fails_no_load(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    publisher = publisher_of(transports(service.url), spool)
    for path in (folder / "set-aside", folder):
        path.rmdir()
    folder.write_text("a file in its place")
    assert publisher.publish(event(publisher, 1)) is not None
    assert numbers(service) == [1]
    flushed = publisher.flush()
    assert flushed.error is not None
    assert flushed.kept is None, "nobody knows"
    with pytest.raises(SpoolError, match="cannot make the spool"):
        Spool(folder)
    with pytest.raises(SpoolError, match="JSON"):
        Spool(tmp_path / "other").append({"n": object()})


def test_threads_share_a_spool(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    transport = transports(service.url)
    publishers = [publisher_of(transport, Spool(tmp_path), 10) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(
            pool.map(lambda n: publishers[n % 4].publish(event(publishers[n % 4], n)), range(40))
        )
    assert publishers[0].flush().kept == 0
    assert sorted(numbers(service)) == list(range(40))
    assert sum(p.published_count for p in publishers) == 40
    assert len({each for each in ids if each}) == len([each for each in ids if each])


# ── servers that do not answer as they should ────────────────────────────────────────────────


@contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that does with each connection what `serve` does, until the end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                serve(connection, over)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def drip_status(connection: socket.socket, over: threading.Event) -> None:
    for byte in b"HTTP/1.1 204 No Content\r\nX-Slow: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        if over.wait(0.05):
            return


def drip_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b"1\r\nx\r\n")


def flood(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def hang(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


@pytest.mark.parametrize("spooled", [True, False])
@pytest.mark.parametrize("serve", [drip_status, hang])
def test_a_server_that_drips_or_hangs_blocks_no_load(
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    serve: Callable[[socket.socket, threading.Event], None],
    spooled: bool,
) -> None:
    with raw_server(serve) as url:
        publisher = publisher_of(transports(url), Spool(tmp_path) if spooled else None, 1)
        began = time.monotonic()
        assert publisher.publish(event(publisher, 1)) is None
        assert 0.5 < time.monotonic() - began < 3
        began = time.monotonic()
        assert publisher.publish(event(publisher, 2)) is None
        assert time.monotonic() - began < 1, "an outage slows down every load"
    assert publisher.failed_count == (0 if spooled else 2)


@pytest.mark.parametrize("serve", [drip_body, flood])
def test_a_delivery_is_over_once_its_status_is_there(
    transports: Callable[[str], HttpTransport],
    tmp_path: Path,
    serve: Callable[[socket.socket, threading.Event], None],
) -> None:
    with raw_server(serve) as url:
        publisher = publisher_of(transports(url), Spool(tmp_path), 10)
        began = time.monotonic()
        assert publisher.publish(event(publisher, 1)) is not None
        assert time.monotonic() - began < 3
    assert Spool(tmp_path).state().events == 0


def test_a_closed_transport_says_so(service: Service) -> None:
    transport = HttpTransport(service.url, clock=lambda: NOW, new_id=lambda: "m")
    transport.close()
    transport.close()
    with pytest.raises(RuntimeError, match="closed"):
        transport.publish({})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_publishes_too(
    service: Service, transports: Callable[[str], HttpTransport], tmp_path: Path
) -> None:
    publisher = publisher_of(transports(service.url), Spool(tmp_path), 10)
    publisher.publish(event(publisher, 1))
    child = os.fork()
    if not child:
        done = publisher.publish(event(publisher, 2))
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(service) == [1, 2]


# ── processes ────────────────────────────────────────────────────────────────────────────────


def publishing(url: str, folder: Path, first: int, many: int, budget: float) -> Any:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.processors.publishing"),
            *(url, str(folder), str(first), str(many), str(budget)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def test_a_publisher_that_is_killed_loses_nothing(service: Service, tmp_path: Path) -> None:
    with raw_server(hang) as url:
        process = publishing(url, tmp_path, 0, 100, 0.2)
        for _ in range(3):
            process.stdout.readline()
        begun = time.monotonic()
        while Spool(tmp_path).state().events < 4 and time.monotonic() < begun + 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    kept = Spool(tmp_path).state().events
    assert kept >= 4, "the one it was just publishing is lost"
    ran = run("events", "flush", str(tmp_path), "--url", service.url, "--json")
    assert (ran.code, ran.json["sent"], ran.json["kept"]) == (0, kept, 0)
    assert numbers(service) == list(range(kept))


def test_processes_that_send_at_once_send_everything_once(
    service: Service, tmp_path: Path, transports: Callable[[str], HttpTransport]
) -> None:
    spool = Spool(tmp_path)
    publisher = publisher_of(transports("http://127.0.0.1:9"), spool)
    for n in range(60):
        spool.append(event(publisher, n))
    service.pause_seconds = 0.02
    processes = [publishing(service.url, tmp_path, first, 5, 30) for first in (100, 200, 300)]
    for process in processes:
        assert process.wait(60) == 0
        process.stdout.close()
    got = numbers(service)
    assert got[:60] == list(range(60)), "the older ones did not come first"
    assert sorted(got[60:]) == [first + n for first in (100, 200, 300) for n in range(5)]
    for first in (100, 200, 300):
        own = [n for n in got if first <= n < first + 100]
        assert own == sorted(own)


def test_flush_says_what_came_of_it(service: Service, tmp_path: Path) -> None:
    absent = run("events", "flush", str(tmp_path / "absent"), "--url", service.url)
    assert (absent.code, (tmp_path / "absent").exists()) == (2, False)
    spool = Spool(tmp_path)
    empty = run("events", "flush", str(tmp_path), "--url", service.url)
    assert (empty.code, empty.out) == (0, "0 events sent, 0 kept, 0 set aside.\n")
    spool.append({"record_count": 1})
    nowhere = f"http://127.0.0.1:{free_port()}"
    away = run("events", "flush", str(tmp_path), "--url", nowhere, "--timeout", "1", "--json")
    assert (away.code, away.json["sent"], away.json["kept"]) == (3, 0, 1)
    assert away.json["error"]
    service.answers = [422]
    spool.append({"record_count": 2})
    rejected = run("events", "flush", str(tmp_path), "--url", service.url)
    assert (rejected.code, numbers(service)) == (1, [1, 2])
    assert "1 event sent, 0 kept, 1 set aside." in rejected.out
    assert os.listdir(tmp_path / "set-aside")
    assert json.loads(next((tmp_path / "set-aside").iterdir()).read_text()) == {"record_count": 1}
