"""A real service that the verbs talk to."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.support import serving


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the project's registry. Tests keep to game dates of their own."""
    yield from serving(tmp_path_factory.mktemp("service"))


@pytest.fixture
def httpd_that_says_hello() -> Iterator[str]:
    """Something that answers and is no coordinator."""
    yield from answering(200)


@pytest.fixture
def httpd_that_redirects(httpd_that_says_hello: str) -> Iterator[str]:
    """Something that sends everybody elsewhere, as a proxy does to its login."""
    yield from answering(302, location=httpd_that_says_hello)


def answering(status: int, **headers: str) -> Iterator[str]:
    """The address of a server that gives this answer to every GET."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
