"""HTTP server on loopback that speaks enough of the OpenAI dialect to play scripted chat completions."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Endpoint:
    """Address of the server, the rest of its script, and its requests."""

    url: str
    script: list[str]
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and body for a completion request; 500 when the script has ended."""
        self.requests.append(request)
        if not self.script:
            return 500, {"error": {"message": "the script has ended", "type": "server_error"}}
        message = {"role": "assistant", "content": self.script.pop(0)}
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": str(request.get("model")),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1_000},
        }


@contextmanager
def endpoint(script: Sequence[str]) -> Generator[Endpoint]:
    """Serve the script on a free port until the block ends; `url` is the base URL for clients."""
    playing = Endpoint("", [*script])

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.path.endswith("/chat/completions")
            status, answer = playing.answer(json.loads(body)) if is_known else (404, {"error": {"message": self.path}})
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        playing.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield playing
        finally:
            server.shutdown()
            thread.join()
