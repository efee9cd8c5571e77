"""A server between a client and an object store, which can be told to misbehave.

A fault is a function of a request that gives `None` (pass it on), "drop" (close the connection),
seconds to wait before it is passed on, or a status and an S3 error code to answer with.
"""

import http.client
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Request:
    number: int
    method: str
    path: str
    headers: dict

    @property
    def is_change(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")


class Proxy:
    def __init__(self, upstream: str):
        self.upstream = urlsplit(upstream)
        self.fault = lambda request: None
        self.seen = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Small answers are not held back.
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def answer(self):
                proxy._answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A client that was killed is none."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def reset(self, fault=lambda request: None):
        with self._lock:
            self.fault, self.seen = fault, []

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            request = Request(len(self.seen), handler.command, handler.path, dict(handler.headers))
            self.seen.append(request)
            fault = self.fault(request)
        if fault == "drop":
            handler.close_connection = True
            handler.connection.close()
            return
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault is not None:
            status, code = fault
            # As S3 does, with what must never be shown.
            text = (
                f"<Error><Code>{code}</Code><Message>m</Message>"
                "<AWSAccessKeyId>S3RVER</AWSAccessKeyId></Error>"
            ).encode()
            self._send(handler, status, [("Content-Type", "application/xml")], text)
            return
        headers = dict(handler.headers)
        upstream = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port)
        upstream.request(handler.command, handler.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        length = answer.getheader("Content-Length")
        self._send(handler, answer.status, kept, content, length)
        upstream.close()

    def _send(self, handler, status, headers, content, length=None):
        try:
            handler.send_response_only(status)
            for name, value in headers:
                handler.send_header(name, value)
            is_head = handler.command == "HEAD"
            handler.send_header("Content-Length", length if is_head and length else len(content))
            handler.end_headers()
            if not is_head:
                handler.wfile.write(content)
        except OSError:
            # The client was killed.
            handler.close_connection = True
