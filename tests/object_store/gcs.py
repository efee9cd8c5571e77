"""A small Google Cloud Storage: the XML interface that programs write with, in memory.

Generations and their conditions, copies, uploads in parts, and lists by the page; tokens are those that the
owner of a key signs for himself. https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

import base64
import hashlib
import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

VERSION = "own, of the XML API"
# Fewer than the service's thousand, so that there is more than one.
PAGE = 40


class Gcs:
    def __init__(self, bucket: str):
        self.bucket, self.objects, self.uploads = bucket, {}, {}
        self.parts, self.refused = 0, 0
        self._generation, self._lock = time.time_ns() // 1000, threading.Lock()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with site._lock:
                    status, headers, content = site._answer(self, body)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", headers.get("length", len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def service_account(self, **more) -> tuple[str, str]:
        """A key file, and the words of it that nobody may see."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        account = {
            "type": "service_account", "client_email": "exports@example.iam.gserviceaccount.com",
            "private_key_id": "1", "private_key": pem,
        }
        return json.dumps(account | more), pem.splitlines()[1]

    def _is_signed(self, token: str) -> bool:
        try:
            signed, signature = token.rsplit(".", 1)
            claims = json.loads(_decoded(signed.split(".")[1]))
            self._key.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            return claims["iat"] - 60 <= time.time() < claims["exp"]
        except Exception:
            return False

    def _answer(self, request, body):
        url = urlsplit(request.path)
        bucket, _, name = url.path.lstrip("/").partition("/")
        name, query = unquote(name), parse_qs(url.query, keep_blank_values=True)
        query = {key: values[0] for key, values in query.items()}
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._is_signed(token):
            return _error(401, "AuthenticationRequired")
        if bucket != self.bucket:
            return _error(404, "NoSuchBucket")
        match request.command:
            case "GET" if not name:
                return self._list(query)
            case "GET" | "HEAD":
                return self._get(request, name)
            case "POST" if "uploads" in query:
                upload = f"upload{len(self.uploads)}"
                self.uploads[upload] = {}
                ids = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key><UploadId>{upload}</UploadId>"
                return _xml(f"<InitiateMultipartUploadResult>{ids}</InitiateMultipartUploadResult>")
            case "PUT" if "partNumber" in query:
                self.parts += 1
                self.uploads[query["uploadId"]][int(query["partNumber"])] = body
                return 200, {"ETag": _etag(body)}, b""
            case "POST" if "uploadId" in query:
                parts = self.uploads.pop(query["uploadId"])
                return self._put(name, b"".join(parts[it] for it in sorted(parts)), "CompleteMultipartUploadResult")
            case "DELETE" if "uploadId" in query:
                self.uploads.pop(query["uploadId"], None)
                return 204, {}, b""
            case "DELETE":
                found = self.objects.pop(name, None)
                return (204, {}, b"") if found else _error(404, "NoSuchKey")
            case "PUT":
                expected = request.headers.get("x-goog-if-generation-match")
                found = self.objects.get(name)
                if expected is not None and int(expected) != (found[1] if found else 0):
                    self.refused += 1
                    return _error(412, "PreconditionFailed")
                source = request.headers.get("x-goog-copy-source")
                if source is None:
                    return self._put(name, body)
                source = self.objects.get(unquote(source).partition("/")[2])
                return self._put(name, source[0], "CopyObjectResult") if source else _error(404, "NoSuchKey")
        return _error(405, "MethodNotAllowed")

    def _put(self, name, content, result=None):
        self._generation += 1
        self.objects[name] = (content, self._generation, time.time())
        etag = _etag(content)
        text = f"<{result}><ETag>{escape(etag)}</ETag></{result}>" if result else ""
        headers = {"ETag": etag, "x-goog-generation": str(self._generation)}
        return 200, headers, text.encode()

    def _get(self, request, name):
        if name not in self.objects:
            return _error(404, "NoSuchKey")
        content, generation, changed = self.objects[name]
        headers = {
            "ETag": _etag(content), "x-goog-generation": str(generation),
            "Last-Modified": formatdate(changed, usegmt=True),
        }
        if request.command == "HEAD":
            return 200, headers | {"length": len(content)}, b""
        asked = request.headers.get("Range", "").removeprefix("bytes=")
        if not asked:
            return 200, headers, content
        start, _, end = asked.partition("-")
        first = int(start) if start else max(0, len(content) - int(end))
        last = min(int(end) if start and end else len(content) - 1, len(content) - 1)
        if first > last:
            return _error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, headers, content[first : last + 1]

    def _list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token", "")
        entries = {}
        for name, it in self.objects.items():
            if name.startswith(prefix):
                folder, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                entries[prefix + folder + found if found else name] = None if found else it
        names = [it for it in sorted(entries) if it > after]
        text = ""
        for name in names[:PAGE]:
            if entries[name] is None:
                text += f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
                continue
            content, _, changed = entries[name]
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
            text += (
                f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
                f"<ETag>{escape(_etag(content))}</ETag><LastModified>{when}</LastModified></Contents>"
            )
        if len(names) > PAGE:
            text += f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>"
        return _xml(f"<ListBucketResult>{text}</ListBucketResult>")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _xml(text: str):
    return 200, {"Content-Type": "application/xml"}, text.encode()


def _error(status: int, code: str):
    return status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()
