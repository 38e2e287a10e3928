"""Publishes what the edges of 16 cameras do, for `msao dash` to show: previews, and each second a draft and its correction.

    dash_load.py PORT [PER_SECOND [BYTES [SECONDS]]]

PORT is a nats-server's on this machine, with the streams of MSAO. PER_SECOND previews of BYTES come of each camera (2, as
edges do, and 20000); 0 is as many as the server takes.
"""

import base64
import datetime
import json
import os
import socket
import sys
import threading
import time

RIGS = ["car-1", "car-2", "line-a", "street"]
CAMERAS = [f"video_{camera}" for camera in range(4)]
EPOCH = "01M8PXAGB3FH422T1MA4PMRR6B"
GRID = "14x14;" + base64.b64encode(bytes(range(196))).decode()


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def message(subject, payload, **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    return f"HPUB {subject} {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n"


def preview(rig, camera, jpeg):
    return message(
        f"msao.v1.preview.{rig}", jpeg, Content_Type="image/jpeg", Msao_Stream=camera,
        Msao_Mas=f"video/{camera}=0.5", Msao_Grid=GRID, Msao_Time=now(),
    )  # fmt: skip


def caption(rig, seq, revision, status, text):
    mas = [{"modality": "video", "stream": camera, "rho": 0.5, "gamma": 0.5, "beta": 1, "mas": 0.5} for camera in CAMERAS]
    window = f"{rig}/{EPOCH}/{seq}"
    body = {
        "schema": "caption/1.1", "id": window, "revision": revision, "status": status, "text": text, "tokens": 3,
        "confidence": 0.5, "start": now(), "end": now(), "start_running_ns": 0, "end_running_ns": 0, "time": now(),
        "mas": mas, "model": "m", "latency_ms": {"edge": 1.0},
    }  # fmt: skip
    return message(f"msao.v1.captions.{rig}", json.dumps(body).encode(), Nats_Msg_Id=f"{window}/caption/{revision}")


def answer(server):
    while heard := server.recv(65536):
        if b"PING" in heard:
            server.sendall(b"PONG\r\n")
        if b"-ERR" in heard:
            sys.exit(heard.decode())


def main():
    port, per_second, size, seconds = (*map(float, sys.argv[1:]), *(0, 2, 20_000, 20)[len(sys.argv) - 1 :])
    server = socket.create_connection(("127.0.0.1", int(port)))
    server.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
    threading.Thread(target=answer, args=[server], daemon=True).start()
    # Only its head is that of a picture: what is measured is how it is carried.
    jpeg = b"\xff\xd8" + os.urandom(int(size) - 2)
    begun, rounds, seq = time.monotonic(), 0, 0
    while (passed := time.monotonic() - begun) < seconds:
        for rig in RIGS:
            for camera in CAMERAS:
                server.sendall(preview(rig, camera, jpeg))
            if passed >= seq:
                server.sendall(caption(rig, seq, 0, "draft", "two people walk"))
                server.sendall(caption(rig, seq, 2, "corrected", "three people walk"))
        seq += passed >= seq
        rounds += 1
        if per_second:
            time.sleep(max(0, begun + rounds / per_second - time.monotonic()))
    print(f"{16 * rounds} previews of {int(size)} bytes in {time.monotonic() - begun:.1f} s")


main()
