#!/usr/bin/env python3
"""A plugin that keeps the newest version of each key in a SQLite file: {file: /path}."""
import json
import sqlite3
import sys
import time

db = None


def failed(kind, code, message, **more):
    return {"class": kind, "code": code, "message": message, **more}


def read(key):
    row = db.execute("SELECT version, digest, op FROM entities WHERE key = ?", (key,)).fetchone()
    return row and {"version": str(row[0]), "digest": row[1], "op": row[2]}


def write(a):
    try:
        version, content = int(a["version"]), a.get("payload")
        if a["op"] == "upsert":
            json.loads(content)
    except (TypeError, ValueError):
        return failed("permanent", "update", "the version is no number, or the payload is not JSON")  # and is not shown
    # The guard: the statement that writes is the one that compares.
    done = db.execute(
        "INSERT INTO entities VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE SET version = ?2, digest = ?3, op = ?4, content = ?5"
        " WHERE version < ?2 OR (version = ?2 AND digest = ?3)",
        (a["key"], version, a["digest"], a["op"], content))
    if done.rowcount == 1:
        return {"class": "ok"}
    held = read(a["key"])
    if int(held["version"]) > version:
        return failed("stale", "stale", "a newer version is there", held=held)
    return failed("conflict", "conflict", "this version is there with another content", held=held)


def apply(attempts, deadline):
    with db:  # the whole request is on the disk afterwards, or nothing of it
        db.execute("BEGIN IMMEDIATE")
        late = time.time() * 1000 >= deadline  # and the worker may have lost the keys to another one
        return [failed("transient", "late", "the time of the call is over") if late else write(a) for a in attempts]


def answer(request):
    global db
    method = request["method"]
    if method == "hello":
        return {"protocol": 1, "kind": "sqlite_store", "capabilities": {
            "guard": "atomic", "keeps_digest": True, "keeps_tombstone": True, "probes": True, "reads": True, "lists": True}}
    if method == "open":
        db = sqlite3.connect(request["config"]["file"], timeout=5, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")  # one wait for the disk for each commit, not three
        db.execute("CREATE TABLE IF NOT EXISTS entities (key TEXT PRIMARY KEY, version INTEGER, digest TEXT, op TEXT, content TEXT)")
    elif method == "apply":
        return {"results": apply(request["attempts"], request.get("deadline", float("inf")))}
    elif method == "read":
        return {"held": [read(key) for key in request["keys"]]}
    elif method == "list":
        rows = db.execute("SELECT key FROM entities WHERE key > ? ORDER BY key LIMIT ?", (request["after"], request["limit"]))
        return {"keys": [row[0] for row in rows]}
    elif method == "probe":
        db.execute("SELECT 1 FROM entities LIMIT 1")
    return {}


for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = answer(request)
    except (KeyError, sqlite3.Error) as error:
        reply = {"error": failed("transient" if db else "misconfigured", "sqlite", str(error))}
    print(json.dumps({"id": request["id"], **reply}), flush=True)
