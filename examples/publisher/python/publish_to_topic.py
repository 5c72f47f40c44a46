#!/usr/bin/env python3
"""Publishes an update to a topic by docs/contract.md, and prints what becomes of it in each
channel that reads the topic. It needs nothing but Python and speaks the protocol of NATS itself.

  publish_to_topic.py HOST:PORT TOPIC KEY VERSION PAYLOAD [ACKS]

VERSION is a number, KEY has letters, digits, '_' and '-', PAYLOAD is JSON. It waits for so many
acks, 0 if they are not given. The exit code is 4 if the topic has a newer version, or this one
with other content."""

import hashlib
import json
import secrets
import socket
import sys

REPLIES = "_INBOX." + secrets.token_hex(8)


class Broker:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.file = socket.create_connection((host, int(port)), timeout=30).makefile("rwb")
        self.file.readline()  # INFO
        self.send(b"CONNECT " + json.dumps({"verbose": False, "headers": True, "no_responders": True, "lang": "python", "version": "1"}).encode() + b"\r\n")
        self.send(f"SUB {REPLIES}.* 1\r\nPING\r\n".encode())
        self.acks = []

    def send(self, data):
        self.file.write(data)
        self.file.flush()

    def request(self, subject, payload, headers=None):
        """Sends a request and returns headers and payload of its answer."""
        reply = REPLIES + ".answer"
        if headers is None:
            self.send(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")
        else:
            head = ("NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode()
            self.send(f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n")
        while True:
            to, head, body = self.next()
            if to == reply:
                return head, body
            self.acks.append(body)

    def ack(self):
        """Returns the next ack."""
        while not self.acks:
            self.acks.append(self.next()[2])
        return json.loads(self.acks.pop(0))

    def next(self):
        """Returns subject, headers and payload of the next message."""
        while True:
            words = self.file.readline().decode().split()
            if not words:
                sys.exit("the broker has closed the connection")
            if words[0] == "PING":
                self.send(b"PONG\r\n")
            elif words[0] == "-ERR":
                sys.exit(" ".join(words))
            elif words[0] in ("MSG", "HMSG"):
                data = self.file.read(int(words[-1]) + 2)[:-2]
                size = int(words[-2]) if words[0] == "HMSG" else 0
                lines = data[:size].decode().split("\r\n")
                head = {"status": lines[0][len("NATS/1.0 "):len("NATS/1.0 ") + 3]}
                head.update(line.split(": ", 1) for line in lines[1:] if ": " in line)
                return words[1], head, data[size:]


def main(address, topic, key, version, payload, acks="0"):
    broker, body = Broker(address), payload.encode()
    digest = hashlib.sha256(b"upsert\n" + body).hexdigest()

    # 1. Find the head. The stream of a topic holds every key: there is no ledger to ask.
    head, newest = broker.request(f"$JS.API.DIRECT.GET.SYNC_TOPIC_{topic}", json.dumps({"last_by_subj": f"sync.top.{topic}.*.*.{key}"}).encode())
    sequence = head.get("Nats-Sequence", "0")

    # 2. Compare. The mark of a reset has no version: the key starts anew.
    if "ce-entityversion" in head:
        held = int(head["ce-entityversion"])
        same = hashlib.sha256(head.get("ce-op", "upsert").encode() + b"\n" + newest).hexdigest() == digest
        if int(version) < held or int(version) == held and not same:
            print(f"refused: the topic has version {held}", file=sys.stderr)
            return 4
        if int(version) == held:
            print("it is there already")
            return 0

    # 3. Publish, with the sequence of the head expected.
    _, answer = broker.request(f"sync.topics.{topic}.{key}", body, {
        "Nats-Msg-Id": f"topics/{topic}/{key}/{version}/{digest[:16]}",
        "Nats-Expected-Last-Subject-Sequence": sequence,
        "ce-specversion": "1.0", "ce-id": f"topics/{topic}/{key}/{version}/{digest[:16]}", "ce-source": "/examples", "ce-type": "example",
        "ce-entityversion": version, "content-type": "application/json", "Extsync-Reply-To": REPLIES + ".acks",
    })
    receipt = json.loads(answer)
    if "error" in receipt:
        sys.exit(f"{receipt['error']['description']} (error {receipt['error']['err_code']}): see the table in docs/contract.md")
    print("stored as sequence", receipt["seq"])
    for _ in range(int(acks)):
        ack = broker.ack()
        print(f"{ack['channel']}: {ack['outcome']}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
