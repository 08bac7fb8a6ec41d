"""Shop is the service of the guides: POST /orders on port 8080, priced by prices.test."""

import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            with urllib.request.urlopen("http://prices.test:9090/prices/" + order["item"]) as answer:
                price = json.load(answer)["price"]
        except urllib.error.URLError as e:
            self.answer(502, {"error": str(e)})
            return
        self.answer(200, {"item": order["item"], "total": order["quantity"] * price})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


try:
    ThreadingHTTPServer(("127.0.0.1", 8080), Shop).serve_forever()
except KeyboardInterrupt:
    pass
