"""A server between a client and an object store, which can be told to misbehave.

A fault is a function of a request that gives `None` (pass it on), "drop" (close the connection), "lose" (pass it
on, and close the connection before the answer), "cut" (send half of the answer), "garble" (answer with a page of HTML),
seconds to wait before it is passed on, or a status and an S3 error code, or a whole body, to answer with.
"""

import http.client
import threading
import time
from collections import Counter
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
    body: bytes

    @property
    def is_change(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")

    def has(self, header: str) -> bool:
        return any(name.lower() == header for name in self.headers)


class Proxy:
    def __init__(self, upstream: str):
        self.upstream = urlsplit(upstream)
        self.fault = lambda request: None
        self.seen = []
        # How many requests of each kind were under way at once; what has no kind is not counted.
        self.most, self._busy = Counter(), Counter()
        self._kind = lambda request: None
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

    def reset(self, fault=lambda request: None, kind=lambda request: None):
        with self._lock:
            self.fault, self.seen = fault, []
            self.most, self._kind = Counter(), kind

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            request = Request(len(self.seen), handler.command, handler.path, dict(handler.headers), body)
            self.seen.append(request)
            fault = self.fault(request)
            kind = self._kind(request)
            self._busy[kind] += 1
            self.most[kind] = max(self.most[kind], self._busy[kind])
        try:
            self._pass_on(handler, body, fault)
        finally:
            with self._lock:
                self._busy[kind] -= 1

    def _pass_on(self, handler, body, fault):
        if fault == "drop":
            handler.close_connection = True
            handler.connection.close()
            return
        if fault == "garble":
            page = b"<html><body>Please log in</body></html>"
            self._send(handler, 200, [("Content-Type", "text/html"), ("ETag", '"1"')], page)
            return
        if isinstance(fault, float):
            time.sleep(fault)
        elif isinstance(fault, tuple):
            status, code = fault
            # As S3 does, with what must never be shown.
            text = (
                f"<Error><Code>{code}</Code><Message>m</Message>"
                "<AWSAccessKeyId>S3RVER</AWSAccessKeyId></Error>"
            ).encode()
            text = code.encode() if code.startswith("<") else text
            self._send(handler, status, [("Content-Type", "application/xml")], text)
            return
        headers = dict(handler.headers)
        upstream = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port)
        upstream.request(handler.command, handler.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        if fault == "lose":
            handler.close_connection = True
            handler.connection.close()
            return
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        length = answer.getheader("Content-Length")
        if fault == "cut" and handler.command == "GET" and len(content) > 1:
            # The client waits for the rest.
            self._send(handler, answer.status, kept, content[: len(content) // 2], length, is_cut=True)
            handler.close_connection = True
            handler.connection.close()
            return
        self._send(handler, answer.status, kept, content, length)
        upstream.close()

    def _send(self, handler, status, headers, content, length=None, is_cut=False):
        try:
            handler.send_response_only(status)
            for name, value in headers:
                handler.send_header(name, value)
            is_head = handler.command == "HEAD"
            is_other = length and (is_head or is_cut)
            handler.send_header("Content-Length", length if is_other else len(content))
            handler.end_headers()
            if not is_head:
                handler.wfile.write(content)
        except OSError:
            # The client was killed.
            handler.close_connection = True
