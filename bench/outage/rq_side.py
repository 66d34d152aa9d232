"""RQ's side of the comparison: a producer that answers over HTTP, or a worker
that is started again whenever it ends, as a supervisor does."""
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def call(url):
    urllib.request.urlopen(url, timeout=120).read()


def produce(address):
    import redis
    import rq

    queue = rq.Queue(connection=redis.Redis.from_url(address, socket_timeout=5))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            url = self.rfile.read(int(self.headers["Content-Length"])).decode()
            try:
                queue.enqueue("rq_side.call", url)
                status = 200
            except Exception as error:
                status = 503
                print(error)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("ready on http://127.0.0.1:%d/" % server.server_port, flush=True)
    server.serve_forever()


def work(address):
    import redis
    import rq

    # One child at a time; it leaves when the parent is gone.
    parent = os.getpid()
    while True:
        child = os.fork()
        if child == 0:
            import ctypes
            import signal
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(0)
            connection = redis.Redis.from_url(address)
            rq.Worker([rq.Queue(connection=connection)], connection=connection).work(logging_level="WARNING", with_scheduler=False)
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(1)


if __name__ == "__main__":
    {"produce": produce, "work": work}[sys.argv[1]](sys.argv[2])
