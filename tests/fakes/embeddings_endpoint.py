"""HTTP server on loopback that speaks enough of the OpenAI dialect to return embeddings."""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

MEANINGS = (
    ("twice", "double", "duplicate"),
    ("disk", "volume", "storage"),
    ("lunch", "noon", "meal"),
    ("ship", "boat"),
)
"""Synonyms that the model knows: words of one group mean the same, all others nothing."""


@dataclass
class Endpoint:
    """Address of the server, its availability, and its requests."""

    url: str
    away: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stops_at: str = ""
    """A text to which it does not answer before `release`."""
    is_reached: Event = field(default_factory=Event)
    release: Event = field(default_factory=Event)

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and body for a request; 500 while away."""
        self.requests.append(request)
        if self.away:
            return 500, {"error": {"message": "away", "type": "server_error"}}
        text_input = request["input"]
        texts = [text_input] if isinstance(text_input, str) else text_input
        if self.stops_at and any(self.stops_at in text for text in texts):
            self.is_reached.set()
            self.release.wait(120)
        data = [{"object": "embedding", "index": n, "embedding": meaning(text)} for n, text in enumerate(texts)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return 200, {"object": "list", "data": data, "model": str(request.get("model")), "usage": usage}


def meaning(text: str) -> list[float]:
    """Return how often a text means each of the things that the model understands."""
    words = re.findall(r"[a-z]+", text.lower())
    return [float(sum(words.count(word) for word in group)) for group in MEANINGS]


@contextmanager
def endpoint() -> Generator[Endpoint]:
    """Serve on a free port until the block ends; `url` is the base URL for clients."""
    serving = Endpoint("")

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.path.endswith("/embeddings")
            status, answer = serving.answer(json.loads(body)) if is_known else (404, {"error": {"message": self.path}})
            text = json.dumps(answer).encode()
            with suppress(ConnectionError):  # whoever asked may have been killed meanwhile
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield serving
        finally:
            server.shutdown()
            thread.join()
