#!/usr/bin/env python3
"""A registry that serves what lies in a directory, right or wrong, where a real registry would have refused it.

usage: static_registry.py DIR PORT_FILE

DIR/manifests/NAME holds the bytes of the tag or digest NAME, DIR/manifests/NAME.type its media type (default: OCI manifest);
DIR/blobs/DIGEST the bytes of a blob. Pulls and ranges only. Listens on a free port of 127.0.0.1 and writes it to PORT_FILE.
"""
import http.server
import os
import re
import sys

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory = ""

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read(self, kind, name):
        try:
            with open(os.path.join(self.directory, kind, name), "rb") as file:
                return file.read()
        except OSError:
            return None

    def do_GET(self):
        if self.path == "/v2/":
            return self.answer(200)
        match = re.fullmatch(r"/v2/.+/(manifests|blobs)/([\w.:-]+)", self.path)
        body = self.read(*match.groups()) if match else None
        if body is None:
            return self.answer(404, b'{"errors":[{"code":"NOT_FOUND"}]}')
        if match[1] == "manifests":
            media_type = self.read("manifests", match[2] + ".type") or MANIFEST.encode()
            return self.answer(200, body, {"Content-Type": media_type.decode()})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted:
            return self.answer(200, body)
        first, last = int(wanted[1]), min(int(wanted[2]), len(body) - 1)
        return self.answer(206, body[first:last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"})

    do_HEAD = do_GET


def main():
    Handler.directory, port_file = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(port_file + ".new", "w") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
