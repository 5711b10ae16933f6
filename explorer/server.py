"""The server of the page: for this machine only, and only for who knows the address with its random token."""

import errno
import json
import os
import secrets
import sys
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from explorer.answers import BadRequestError
from lab.cli import LabError

PAGES = Path(__file__).resolve().parent / "pages"
SCRIPTS = ("common.js", "ask.js", "map.js", "bars.js", "drawing.js", "script.js")
FILES = {"/": "page.html"} | {f"/{name}": name for name in ("style.css", *SCRIPTS)}  # address after the token → file
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LOCALHOST = "127.0.0.1"
MOST_BYTES = 2**22  # of a request's body: 24 codes of the widest sensible model
PATIENCE = 30  # seconds per request for a slow client
TRIED_PORTS = 50
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the token is part of the address
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves the page of an Explorer at .address."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # Windows would share a port that is in use

    def __init__(self, explorer, port):
        self.explorer, self.token = explorer, secrets.token_urlsafe(24)
        super().__init__((LOCALHOST, port), Handler)
        self.address = f"http://{LOCALHOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # the browser went away
            super().handle_error(request, client_address)


def start_server(explorer, port):
    """Return a Server on this port, or on the next free one; raises LabError if none is free."""
    for candidate in range(port, min(port + TRIED_PORTS, 65536)):
        try:
            return Server(explorer, candidate)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise LabError(f"expected a free port from {port} to {candidate}, got none: give a different --port.")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many requests
    disable_nagle_algorithm = True
    timeout = PATIENCE
    wbufsize = -1  # head and body leave together

    def do_GET(self):
        name = self.find_name()
        if name is None:
            return
        if name not in FILES:
            return self.reply(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})
        path = PAGES / FILES[name]
        self.reply(HTTPStatus.OK, path.read_bytes(), f"{TYPES[path.suffix]}; charset=utf-8")

    def do_POST(self):
        name = self.find_name()
        if name is None:
            return
        try:
            request = self.read_body()
            answer = self.server.explorer.answer(name.removeprefix("/"), request)
        except BadRequestError as error:
            return self.reply(HTTPStatus.BAD_REQUEST, {"error": f"bad request: {error}"})
        except (ConnectionError, TimeoutError):  # the client went away, or is too slow
            raise
        except Exception:  # a fault of the page's own code: the server lives on
            traceback.print_exc()
            return self.reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "explore.py failed: see its terminal"})
        self.reply(HTTPStatus.OK, answer)

    def find_name(self):
        """Return what stands after the token in the address, "/" for the page itself; None if the request was refused.

        Host must be this server, so that no other site's name leads here; nor may another site's page send requests.
        """
        own = {f"{host}:{self.server.server_port}" for host in (LOCALHOST, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get_all("Host", []) not in [[host] for host in own]:
            self.reply(HTTPStatus.FORBIDDEN, {"error": "wrong host"})
        elif origin is not None and origin not in {f"http://{host}" for host in own}:
            self.reply(HTTPStatus.FORBIDDEN, {"error": "wrong origin"})
        else:
            token, slash, name = self.path.removeprefix("/").partition("/")
            if slash and secrets.compare_digest(token.encode(), self.server.token.encode()):
                return f"/{name}"
            text = "the address is not complete: open the one that explore.py has printed, with its token"
            self.reply(HTTPStatus.FORBIDDEN, {"error": text})
        return None

    def read_body(self):
        """Return the JSON value of a request's body; raises BadRequestError."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or len(length) > 10 or int(length) > MOST_BYTES:
            raise BadRequestError(f"expected a body of at most {MOST_BYTES} bytes, and its length")
        if self.headers.get_content_type() != "application/json":
            raise BadRequestError("expected JSON")
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise BadRequestError("the body is shorter than its length")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadRequestError("the body is not valid JSON") from error

    def reply(self, status, content, content_type="application/json"):
        if status != HTTPStatus.OK:
            self.close_connection = True  # there may be more of the request that nobody reads
        content = content if isinstance(content, bytes) else json.dumps(content, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def end_headers(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        """Keep requests out of the terminal."""
