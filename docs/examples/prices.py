"""Prices is what the shop depends on: GET /prices/ITEM on port 9090."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Prices(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"item": self.path, "price": 100 * len(self.path)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


try:
    ThreadingHTTPServer(("127.0.0.1", 9090), Prices).serve_forever()
except KeyboardInterrupt:
    pass
