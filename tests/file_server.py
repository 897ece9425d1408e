"""A web server on this machine that misbehaves as a test plans it."""

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Answer:
    """How one request is answered; by default as a good server does.

    Args:
        status: An error to answer with instead.
        cut: Break off after so many bytes of the body.
        knows_ranges: Whether ``Range`` is honoured.
        range_shift: Answer a range from so many bytes later than asked for.
        is_sized: Whether ``Content-Length`` is sent.
        location: Address to redirect to.
        gate: Wait for this event before the error, or before the body's
            second byte.
    """

    status: int | None = None
    cut: int | None = None
    knows_ranges: bool = True
    range_shift: int = 0
    is_sized: bool = True
    location: str | None = None
    gate: threading.Event | None = None


class FileServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path to content) and notes every request.

    Attributes:
        files: Content by path, with a ``/`` at the path's beginning.
        plan: Answers to the next requests; good ones when it is empty.
        requests: Path and ``Range`` field of every request so far.
        url: Address of the server, without a ``/`` at its end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.plan: list[Answer] = []
        self.requests: list[tuple[str, str | None]] = []
        self.url = f'http://127.0.0.1:{self.server_port}'

    def handle_error(self, *args) -> None:
        """Say nothing: clients break off here on purpose."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = self.headers.get('Range')
        self.server.requests.append((self.path, asked))
        answer = self.server.plan.pop(0) if self.server.plan else Answer()
        content = self.server.files.get(self.path.partition('?')[0])
        if answer.location is not None:
            self.send_response(302)
            self.send_header('Location', answer.location)
            self.end_headers()
        elif answer.status is not None or content is None:
            self._wait(answer)
            self.send_error(answer.status or 404)
        else:
            self._send(content, asked, answer)

    def _send(self, content: bytes, asked: str | None, answer: Answer) -> None:
        start = 0
        if asked is not None and answer.knows_ranges:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
            if start >= len(content):
                self.send_error(416)
                return
            start += answer.range_shift
            last, size = len(content) - 1, len(content)
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{last}/{size}')
        else:
            self.send_response(200)
        body = content[start:]
        if answer.is_sized:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1])
        self.wfile.flush()
        self._wait(answer)
        self.wfile.write(body[1 : answer.cut])

    def _wait(self, answer: Answer) -> None:
        if answer.gate is not None:
            answer.gate.wait(10)

    def log_message(self, *args) -> None:
        """Keep the output of the tests clean."""


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server until the block ends."""
    server = FileServer()
    # A short poll: shutdown waits for it.
    thread = threading.Thread(
        target=server.serve_forever, args=(0.01,), daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
