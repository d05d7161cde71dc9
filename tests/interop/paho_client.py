"""paho-mqtt, told what to do by lines of JSON. README.md beside this file describes them."""

import json
import queue
import socket
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

SOON = 20
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
NAMES = {
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "expiry": "MessageExpiryInterval",
    "alias": "TopicAlias",
}


class Connection:
    def __init__(self, options):
        self.is_5 = options["version"] == "5"
        self.answers, self.messages = queue.Queue(), queue.Queue()
        is_web = options["transport"] in ("ws", "wss")
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=options["client_id"],
            protocol=VERSIONS[options["version"]],
            transport="websockets" if is_web else "tcp",
            reconnect_on_failure=False,
            clean_session=None if self.is_5 else options["clean"],
        )
        if options.get("username"):
            client.username_pw_set(options["username"], options["password"])
        if options["transport"] in ("tls", "wss"):
            context = ssl.create_default_context(cafile=options["ca"])
            if options.get("certificate"):
                context.load_cert_chain(options["certificate"], options["key"])
            client.tls_set_context(context)
        if will := options.get("will"):
            client.will_set(will["topic"], will["payload"], will["qos"], will["retain"])
        client.on_connect = lambda _c, _u, flags, code, _p: self.answers.put((flags.session_present, code.value))
        client.on_connect_fail = lambda _c, _u: self.answers.put((False, None))
        client.on_subscribe = lambda _c, _u, _id, codes, _p: self.answers.put([code.value for code in codes])
        client.on_message = lambda _c, _u, message: self.messages.put(message)

    def connect(self, options):
        more = {}
        if self.is_5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = options.get("expiry", 0)
            more = {"clean_start": options["clean"], "properties": properties}
        self.client.connect(options["host"], options["port"], keepalive=60, **more)
        self.client.loop_start()
        present, code = self.answers.get(timeout=SOON)
        return {"session_present": present, "code": code}

    def subscribe(self, command):
        if self.is_5:
            properties = Properties(PacketTypes.SUBSCRIBE)
            if "identifier" in command:
                properties.SubscriptionIdentifier = command["identifier"]
            options = SubscribeOptions(qos=command["qos"])
            self.client.subscribe(command["filter"], options=options, properties=properties)
        else:
            self.client.subscribe(command["filter"], command["qos"])
        return {"codes": self.answers.get(timeout=SOON)}

    def publish(self, command):
        properties = None
        if self.is_5 and (given := command.get("properties")):
            properties = Properties(PacketTypes.PUBLISH)
            for name, attribute in NAMES.items():
                if name in given:
                    setattr(properties, attribute, given[name])
            if "correlation" in given:
                properties.CorrelationData = given["correlation"].encode()
            if "user" in given:
                properties.UserProperty = [tuple(pair) for pair in given["user"]]
        sent = self.client.publish(
            command["topic"], command["payload"], command["qos"], command["retain"], properties=properties
        )
        sent.wait_for_publish(SOON)
        return {} if sent.is_published() else {"error": "not acknowledged"}

    def receive(self, command):
        try:
            message = self.messages.get(timeout=command["within"])
        except queue.Empty:
            return {}
        found = {}
        if self.is_5 and message.properties:
            given = message.properties
            for name, attribute in NAMES.items():
                if hasattr(given, attribute):
                    found[name] = getattr(given, attribute)
            if hasattr(given, "CorrelationData"):
                found["correlation"] = given.CorrelationData.decode()
            if hasattr(given, "UserProperty"):
                found["user"] = given.UserProperty
            if hasattr(given, "SubscriptionIdentifier"):
                identifiers = given.SubscriptionIdentifier
                found["identifiers"] = identifiers if isinstance(identifiers, list) else [identifiers]
        return {
            "topic": message.topic,
            "payload": message.payload.decode(),
            "qos": message.qos,
            "retain": bool(message.retain),
            "properties": found,
        }

    def cut(self, _command):
        opened = self.client.socket()
        # A WebSocket is a wrapper around the socket that is to go.
        getattr(opened, "_socket", opened).shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()
        return {}

    def disconnect(self, _command):
        self.client.disconnect()
        self.client.loop_stop()
        return {}


connections = {}
for line in sys.stdin:
    command = json.loads(line)
    try:
        if command["do"] == "connect":
            connections[command["as"]] = Connection(command)
        connection = connections[command["as"]]
        answer = getattr(connection, command["do"])(command)
    except Exception as error:  # whatever it is, the test should see it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
