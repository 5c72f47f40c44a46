"""A plugin without a guard: it appends each update to a file that all of its processes share."""
import fcntl
import json
import os
import sys
import time

journal = None


def write(a, request):
    with open(journal, "a") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        now = time.time() * 1000
        if now >= request["deadline"]:
            return {"class": "transient", "code": "late", "message": "the time of the call is over"}
        line = {"key": a["key"], "version": a["version"], "digest": a["digest"], "op": a["op"], "attempt": a["attempt"],
                "pid": os.getpid(), "left": request["deadline_ms"], "at": now}
        out.write(json.dumps(line) + "\n")
    return {"class": "ok"}


for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"]}
    if request["method"] == "hello":
        answer.update(protocol=1, capabilities={"guard": "ledger"})
    elif request["method"] == "open":
        journal = request["config"]["journal"]
    elif request["method"] == "apply":
        answer["results"] = [write(a, request) for a in request["attempts"]]
    print(json.dumps(answer), flush=True)
