#!/usr/bin/env python3
"""A registry that goes wrong on demand: static_registry.py with Bearer tokens, redirects, faults and counts.

usage: faulty_registry.py DIR PORT_FILE USER PASSWORD

DIR is as static_registry.py has it. Listens on three free ports of 127.0.0.1 and writes them to PORT_FILE: the registry, the storage
that its redirects lead to, and its control. Everything below /v2/ wants a token, which /token sells for USER and PASSWORD. Tokens and
the signatures of redirects hold the word CANARY.

The control answers GETs. DIGEST below is the blob whose range requests go wrong and are counted; all else is served well.
  /blob?digest=DIGEST        which blob
  /fault?kind=KIND&times=N   what happens to the next N of them: an HTTP status, or one of FAULTS
  /redirect?on=1             ranges are answered with a 307 to the storage; on=0: no more
  /expire?for_ever=0|1       the storage refuses all signatures so far, or all whatsoever
  /drop                      every connection ends
  /away                      nobody listens any more, and every connection ends
  /clear                     all is well again, and what a fault kept waiting ends
  /stats                     {"requests", "tokens"} since the last time: answers and faults at both ports, tokens sold
"""
import base64
import http.server
import itertools
import json
import os
import re
import socket
import struct
import sys
import threading
import urllib.parse

import static_registry

FAULTS = ("reset", "cut", "short_body", "black_hole", "slow_loris", "range_ignored", "wrong_content_range", "wrong_length",
          "changed_size", "wrong_bytes")
RETRY_AFTER_SECONDS = {429: 1, 503: 1}
LORIS_SECONDS = 0.1


class State:
    """What the control sets, and what it can ask for. All under one lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.digest = self.kind = ""
        self.times = 0
        self.redirect = self.refuse_signatures = False
        self.tokens, self.signatures = set(), set()
        self.numbers = itertools.count(1)
        self.requests = self.sold = 0
        self.released = threading.Event()
        self.connections = set()

    def take_fault(self):
        with self.lock:
            if self.times == 0:
                return ""
            self.times -= 1
            return self.kind

    def new_secret(self, kind):
        with self.lock:
            text = f"CANARY-{kind}-{next(self.numbers)}"
            (self.tokens if kind == "token" else self.signatures).add(text)
            return text

    def clear(self):
        with self.lock:
            self.times = 0
            self.refuse_signatures = False
            self.released.set()
            self.released = threading.Event()

    def stats(self):
        with self.lock:
            counts = {"requests": self.requests, "tokens": self.sold}
            self.requests = self.sold = 0
            return counts


STATE = State()


class Base(static_registry.Handler):
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with STATE.lock:
            STATE.connections.add(self.connection)

    def finish(self):
        with STATE.lock:
            STATE.connections.discard(self.connection)
        super().finish()

    def refuse(self, status, message="", headers=None):
        self.answer(status, json.dumps({"errors": [{"code": "REFUSED", "message": message}]}).encode(), headers)

    def reset(self):
        """The connection ends with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def range_of(self, body):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return int(wanted[1]), min(int(wanted[2]), len(body) - 1)

    def go_wrong(self, kind):
        body = self.read("blobs", STATE.digest)
        first, last = self.range_of(body)
        part, total, status = body[first:last + 1], len(body), 206
        if kind == "reset":
            return self.reset()
        if kind == "black_hole":
            STATE.released.wait(60)
            self.close_connection = True
            return None
        if kind == "range_ignored":
            return self.answer(200, body)
        if kind == "wrong_content_range":
            first, last = first + 1, last + 1
        if kind == "changed_size":
            total += 1
        if kind == "wrong_bytes":
            part = bytes(byte ^ 0x55 for byte in part)
        length = len(part) // 2 if kind == "wrong_length" else len(part)
        self.send_response(status)
        self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if kind == "slow_loris":
            released = STATE.released
            for byte in part:
                self.wfile.write(bytes([byte]))
                if released.wait(LORIS_SECONDS):
                    break
        elif kind in ("short_body", "cut"):
            self.wfile.write(part[:length // 2])
        else:
            return self.wfile.write(part[:length])
        self.close_connection = True
        return self.reset() if kind == "cut" else None


class Registry(Base):
    credentials = ""
    storage = ""

    def do_GET(self):
        try:
            self.serve()
        except OSError:
            self.close_connection = True  # the reader is gone, as readers here are

    do_HEAD = do_GET

    def challenge(self):
        self.refuse(401, "token please", {"WWW-Authenticate": f'Bearer realm="http://{self.headers["Host"]}/token",service="faulty"'})

    def serve(self):
        presented = self.headers.get("Authorization", "").partition(" ")[2]
        if self.path.startswith("/token"):
            if presented != self.credentials:
                return self.refuse(401, "wrong password")
            with STATE.lock:
                STATE.sold += 1
            return self.answer(200, json.dumps({"token": STATE.new_secret("token"), "expires_in": 300}).encode())
        counted = STATE.digest and self.path.endswith("/blobs/" + STATE.digest) and "Range" in self.headers
        if counted:
            with STATE.lock:
                STATE.requests += 1
        if presented not in STATE.tokens:
            return self.challenge()
        if not counted:
            return super().do_GET()
        kind = STATE.take_fault()
        if kind == "401":
            STATE.tokens.discard(presented)
            return self.challenge()
        if kind.isdigit():
            seconds = RETRY_AFTER_SECONDS.get(int(kind))
            return self.refuse(int(kind), "not now", {"Retry-After": str(seconds)} if seconds else {})
        if kind:
            return self.go_wrong(kind)
        if STATE.redirect:
            signature = STATE.new_secret("signature")
            return self.answer(307, b"", {"Location": f"http://{self.storage}/storage/{STATE.digest}?signature={signature}"})
        return super().do_GET()


class Storage(Base):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        with STATE.lock:
            STATE.requests += 1
            good = url.query.removeprefix("signature=") in STATE.signatures and not STATE.refuse_signatures
        if not good:
            return self.refuse(403, f"expired: http://{self.headers['Host']}{self.path}")
        body = self.read("blobs", os.path.basename(url.path))
        first, last = self.range_of(body)
        return self.answer(206, body[first:last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # connections are cut all the time here

    def run(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self


class Control(http.server.BaseHTTPRequestHandler):
    registry = None
    address = ()

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        options = dict(urllib.parse.parse_qsl(url.query))
        reply = json.dumps(getattr(self, "do_" + url.path[1:])(**options) or {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def do_blob(self, digest):
        STATE.digest = digest

    def do_fault(self, kind, times):
        if kind not in FAULTS and not kind.isdigit():
            raise ValueError(kind)
        with STATE.lock:
            STATE.kind, STATE.times = kind, int(times)

    def do_redirect(self, on):
        STATE.redirect = on == "1"

    def do_expire(self, for_ever):
        with STATE.lock:
            STATE.signatures.clear()
            STATE.refuse_signatures = for_ever == "1"

    def do_away(self):
        Control.registry.shutdown()
        Control.registry.server_close()
        Control.registry = None
        self.do_drop()

    def do_drop(self):
        with STATE.lock:
            for connection in STATE.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def do_clear(self):
        STATE.clear()
        if Control.registry is None:
            Control.registry = Server(Control.address, Registry).run()

    def do_stats(self):
        return STATE.stats()


def main():
    Base.directory, port_file, user, password = sys.argv[1:]
    Registry.credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    storage = Server(("127.0.0.1", 0), Storage).run()
    Registry.storage = f"127.0.0.1:{storage.server_port}"
    Control.registry = Server(("127.0.0.1", 0), Registry).run()
    Control.address = Control.registry.server_address
    control = Server(("127.0.0.1", 0), Control)
    with open(port_file + ".new", "w") as file:
        file.write(f"{Control.address[1]} {storage.server_port} {control.server_port}\n")
    os.rename(port_file + ".new", port_file)
    control.serve_forever()


if __name__ == "__main__":
    main()
