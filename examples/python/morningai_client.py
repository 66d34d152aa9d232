"""A client for MorningAI in one file: nothing but Python 3.8 or newer is needed.

    tasks = Client("http://127.0.0.1:8080", token=None)
    task = tasks.submit("rq:app.tasks.resize", {"args": ["a.png"], "kwargs": {}}, queue="images")
    tasks.status(task["id"])["state"]        # queued, running, succeeded, failed, canceled, ...
    task = tasks.wait(task["id"], timeout=60)
    task["result"], task["error"]

Every submit carries an Idempotency-Key, so that one whose answer was lost is
repeated without making a second task. It is tried again while the server does not
answer, for at most `patience` seconds.
"""
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

ENDED = ("succeeded", "failed", "canceled")


class MorningAIError(Exception):
    """What the server refused; `code` is stable, such as invalid_input or not_found."""

    def __init__(self, status, problem):
        self.status = status
        self.code = problem.get("code", "")
        self.errors = problem.get("errors", [])
        text = problem.get("detail") or problem.get("title") or "status %d" % status
        for e in self.errors:
            text += "; %s %s" % (e.get("location"), e.get("message"))
        super().__init__(text)


class Unreachable(Exception):
    """No answer within the patience. A submit may have been accepted all the same:
    repeat it with the same key to learn."""

    def __init__(self, message, key=None):
        self.key = key
        super().__init__(message)


class TaskTimeout(Exception):
    """The task had not ended when the time to wait was over."""


class Client:
    def __init__(self, url="http://127.0.0.1:8080", token=None, patience=30.0):
        self.url = url.rstrip("/")
        self.token = token
        self.patience = patience

    def submit(self, type, payload=None, key=None, **fields):
        """Accepts a task and returns it. More fields: queue, delay, timeout,
        priority, max_attempts, unique_key, metadata and the rest of the API's."""
        key = key or str(uuid.uuid4())
        return self._call("POST", "/v1/tasks", dict(fields, type=type, payload=payload), key=key)

    def status(self, id):
        """Returns the task as it is now."""
        return self._call("GET", self._task(id))

    def cancel(self, id):
        return self._call("POST", self._task(id) + "/cancel", {})

    def wait(self, id, timeout=None):
        """Returns the task once it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 20.0 if end is None else end - time.monotonic()
            hold = max(0, min(20.0, left))
            task = self._call("GET", self._task(id) + "?wait=%dms" % (hold * 1000), hold=hold)
            if task["state"] in ENDED:
                return task
            if left <= 0:
                raise TaskTimeout("the task %s is still %s" % (id, task["state"]))

    @staticmethod
    def _task(id):
        return "/v1/tasks/" + urllib.parse.quote(str(id), safe="")

    def _call(self, method, path, body=None, key=None, hold=0.0):
        end, pause = time.monotonic() + self.patience + hold, 0.1
        while True:
            try:
                return self._once(method, path, body, key, hold)
            except MorningAIError as e:
                # 429, 503 and 507 pass; everything else is an answer.
                if e.status not in (429, 503, 507) or time.monotonic() > end:
                    raise
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as e:
                if time.monotonic() > end:
                    raise Unreachable("%s does not answer: %s" % (self.url, e), key) from e
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _once(self, method, path, body, key, hold):
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10.0 + hold) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                try:
                    problem = json.load(e)
                except ValueError:
                    problem = {}
            raise MorningAIError(e.code, problem if isinstance(problem, dict) else {}) from None
