"""Publishes one message by MQTT over WebSocket at QoS 1, with nothing but Python itself.

usage: websocket.py HOST PORT USER PASSWORD TOPIC PAYLOAD
"""

import base64
import os
import socket
import sys


def text(value):
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def packet(first, body):
    length, size = b"", len(body)
    while True:
        length += bytes([size % 128 | (128 if size >= 128 else 0)])
        size //= 128
        if not size:
            return bytes([first]) + length + body


class WebSocket:
    def __init__(self, host, port):
        self.stream = socket.create_connection((host, port), timeout=30).makefile("rwb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.write(
            f"GET /mqtt HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        self.stream.flush()
        status = self.stream.readline()
        if b" 101 " not in status:
            raise SystemExit(f"no websocket: {status.decode().strip()}")
        while self.stream.readline().strip():
            pass

    def send(self, data):
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x82, 0x80 | size]) if size < 126 else bytes([0x82, 0x80 | 126]) + size.to_bytes(2, "big")
        self.stream.write(head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data)))
        self.stream.flush()

    def receive(self):
        _, size = self.stream.read(2)
        return self.stream.read(int.from_bytes(self.stream.read(2), "big") if size == 126 else size)


host, port, user, password, topic, payload = sys.argv[1:]
hub = WebSocket(host, int(port))
hub.send(packet(0x10, text("MQTT") + b"\x04\xc2\x00\x3c" + text("websocket-example") + text(user) + text(password)))
if hub.receive()[:1] != b"\x20":
    raise SystemExit("the hub did not accept the connection")
hub.send(packet(0x32, text(topic) + b"\x00\x01" + payload.encode()))
if hub.receive()[:1] != b"\x40":
    raise SystemExit("the hub did not acknowledge the message")
hub.send(b"\xe0\x00")
