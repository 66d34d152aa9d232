"""What the tests have Python workers do."""
import os
import time

from redis import Redis


def add(a, b=0, **more):
    return a + b


def echo(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


def nothing():
    return None


def fail(text="no such size"):
    raise ValueError(text)


def nap(seconds):
    time.sleep(seconds)
    return "rested"


def count(port, key, wait=0.0):
    """Counts its runs in a Redis of their own, which no test takes away."""
    n = Redis(port=port).incr(key)
    time.sleep(wait)
    return n


def flaky(port, key, times):
    n = Redis(port=port).incr(key)
    if n <= times:
        raise RuntimeError("attempt %d" % n)
    return n


def repeat(text, times):
    return text * times


def die():
    os._exit(9)


class Box:
    @staticmethod
    def double(n):
        return 2 * n

    def __init__(self, n):
        self.n = n


def box(n):
    return Box(n)


def on_end(job, connection, *rest):
    pass
