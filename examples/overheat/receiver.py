"""A server that webhooks can go to: it prints what it gets, and refuses temperatures that it does not believe."""

import argparse
import http.server
import json

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--port", type=int, default=9000)
arguments.add_argument("--limit", type=float, default=1000, help="the highest temperature that is believed")
options = arguments.parse_args()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        believed = json.loads(body)["payload"]["temp"] < options.limit
        print("accepted" if believed else "refused", body.decode(), flush=True)
        self.send_response(200 if believed else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


print(f"listening on 127.0.0.1:{options.port}", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
