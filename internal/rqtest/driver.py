"""Runs a piece of Python against a Redis with the names that the tests use."""
import json
import sys
import time

from redis import Redis
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

host, port, db = sys.argv[1].rsplit(":", 1)[0], sys.argv[1].rsplit(":", 1)[1].split("/")[0], 0
if "/" in sys.argv[1]:
    db = int(sys.argv[1].split("/")[1])
r = Redis(host=host, port=int(port), db=db)
args = json.loads(sys.argv[2])


def queue(name="q", serializer=JSONSerializer, **more):
    return Queue(name, connection=r, serializer=serializer, **more)


def fetch(id, serializer=JSONSerializer):
    return Job.fetch(id, connection=r, serializer=serializer)


def until(what, limit=20):
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end:
            raise SystemExit("it did not come about")
        time.sleep(0.02)


def say(value):
    print(json.dumps(value, sort_keys=True))


exec(compile(sys.stdin.read(), "<test>", "exec"))
