#!/usr/bin/env python3
"""A registry that passes every request on to another and writes down which bytes were asked for.

usage: range_log.py --target HOST:PORT --port-file FILE --log FILE

Listens on a free port of 127.0.0.1 and writes it to the port file. Each GET of a blob becomes a line of the log, as JSON:
{"accepted", "at", "digest", "first", "last"}: when its connection was accepted and when it came (time.monotonic()), and
the range, or null.
"""
import argparse
import http.client
import http.server
import json
import re
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = ""
    log = None
    lock = threading.Lock()

    def log_message(self, *arguments):
        pass

    def setup(self):
        super().setup()
        self.accepted = time.monotonic()

    def note(self):
        blob = re.fullmatch(r"/v2/.+/blobs/(sha256:\w+)", self.path)
        if self.command != "GET" or not blob:
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), int(wanted[2])) if wanted else (None, None)
        line = {"accepted": self.accepted, "at": time.monotonic(), "digest": blob[1], "first": first, "last": last}
        with self.lock:
            self.log.write(json.dumps(line) + "\n")
            self.log.flush()

    def do_GET(self):
        self.note()
        upstream = http.client.HTTPConnection(self.target)
        try:
            upstream.request(self.command, self.path, headers={k: v for k, v in self.headers.items() if k != "Host"})
            answer = upstream.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            while self.command != "HEAD" and (piece := answer.read(1 << 16)):
                self.wfile.write(piece)
        except OSError:
            self.close_connection = True  # the reader is gone, as readers here are
        finally:
            upstream.close()

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a connection that was cut


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--log", required=True)
    arguments = parser.parse_args()
    Handler.target = arguments.target
    Handler.log = open(arguments.log, "a")
    server = Server(("127.0.0.1", 0), Handler)
    with open(arguments.port_file, "w") as file:
        file.write(f"{server.server_port}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
