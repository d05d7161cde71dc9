"""tencent-iot-device 1.0.0, the vendor's SDK, as it is: a device that is told what to do by lines of JSON.

The SDK makes the host name from the product, and has the ports built in. So names and ports are led to this machine where
Python looks them up, and nothing of the SDK is changed. It holds one device for a process.
"""

import json
import logging
import queue
import socket
import sys

from hub.hub import QcloudHub

SOON = 20
look_up = socket.getaddrinfo


class Device:
    def __init__(self, options):
        def redirected(host, port, *rest, **more):
            self.asked_for = [host, port]
            return look_up("127.0.0.1", self.port, *rest, **more)

        self.asked_for, self.port = None, options["port"]
        socket.getaddrinfo = redirected
        self.events, self.messages = queue.Queue(), queue.Queue()
        self.hub = QcloudHub(options["file"], tls=options["tls"], useWebsocket=options["websocket"]).hub
        self.hub.logInit(self.hub.LoggerLevel.ERROR, options["file"] + ".log", 1 << 20, 1)
        told = logging.Handler(logging.ERROR)
        told.emit = lambda record: self.events.put(("failed", record.getMessage()))
        logging.getLogger("TecentQcloud").addHandler(told)
        self.hub.registerMqttCallback(
            lambda present, code, _u: self.events.put(("connected", code)),
            lambda code, _u: self.events.put(("disconnected", code)),
            lambda topic, qos, payload, _u: self.messages.put((topic, qos, payload)),
            lambda mid, _u: self.events.put(("published", mid)),
            lambda qos, mid, _u: self.events.put(("subscribed", qos)),
            lambda mid, _u: self.events.put(("unsubscribed", mid)),
        )

    def wait_for(self, kind):
        while True:
            event, value = self.events.get(timeout=SOON)
            if event == kind:
                return value
            if event == "failed":
                raise RuntimeError(value)

    def register(self, _command):
        code, told = self.hub.dynregDevice()
        return {"code": code, "told": told, "asked_for": self.asked_for}

    def connect(self, command):
        self.port = command["port"]
        self.hub.connect()
        return {"code": self.wait_for("connected"), "asked_for": self.asked_for}

    def subscribe(self, command):
        self.hub.registerUserCallback(command["filter"], lambda *message: self.messages.put(message[:3]))
        code, _mid = self.hub.subscribe(command["filter"], command["qos"])
        return {"codes": [self.wait_for("subscribed")]} if code == 0 else {"error": f"code {code}"}

    def unsubscribe(self, command):
        self.hub.unsubscribe(command["filter"])
        self.wait_for("unsubscribed")
        return {}

    def publish(self, command):
        code, mid = self.hub.publish(command["topic"], command["payload"], command["qos"])
        while code == 0 and self.wait_for("published") != mid:
            pass
        return {} if code == 0 else {"error": f"code {code}"}

    def receive(self, command):
        try:
            topic, qos, payload = self.messages.get(timeout=command["within"])
        except queue.Empty:
            return {}
        return {"topic": topic, "qos": qos, "payload": payload}

    # Services. What the SDK hears of them is received like any message.

    def shadow_init(self, command):
        self.who = (command["product"], command["device"])
        self.hub.shadowInit(*self.who, lambda *message: self.messages.put(message[:3]))
        return {"codes": [self.wait_for("subscribed")]}

    def shadow_get(self, _command):
        self.hub.getShadow(*self.who)
        return {}

    def shadow_report(self, command):
        reported = self.hub.device_property()
        reported.key, reported.data, reported.type = command["key"], command["value"], "int"
        document = self.hub.shadowJsonConstructReport(*self.who, reported)
        self.hub.shadowUpdate(*self.who, document, len(document))
        return {}

    def shadow_clear(self, _command):
        document = self.hub.shadowJsonConstructDesireAllNull(*self.who)
        self.hub.shadowUpdate(*self.who, document, len(document))
        return {}

    def rrpc_init(self, command):
        who = (command["product"], command["device"])

        def called(_topic, _qos, payload, _userdata):
            reply = {"done": payload}
            self.hub.rrpcReply(*who, reply, len(reply))

        self.hub.rrpcInit(*who, called)
        return {"codes": [self.wait_for("subscribed")]}

    def broadcast_init(self, command):
        who = (command["product"], command["device"])
        self.hub.broadcastInit(*who, lambda *message: self.messages.put(message[:3]))
        return {"codes": [self.wait_for("subscribed")]}

    # Acting for the devices behind it. The SDK says 1 where the hub did not say 0.

    def gateway_init(self, _command):
        code, _mid = self.hub.gatewayInit()
        return {"codes": [self.wait_for("subscribed")]} if code == 0 else {"error": f"code {code}"}

    def gateway_bind(self, command):
        code, _mid = self.hub.gatewaySubdevBind(command["product"], command["device"], command["secret"])
        return {"code": code}

    def gateway_unbind(self, command):
        code, _mid = self.hub.gatewaySubdevUnbind(command["product"], command["device"])
        return {"code": code}

    def gateway_online(self, command):
        code, _mid = self.hub.gatewaySubdevOnline(command["product"], command["device"])
        return {"code": code}

    def gateway_offline(self, command):
        code, _mid = self.hub.gatewaySubdevOffline(command["product"], command["device"])
        return {"code": code}

    def gateway_devices(self, command):
        code, devices = self.hub.gatewaySubdevGetBindList(command["product"], command["device"])
        named = [f"{device.product_id}/{device.device_name}" for device in devices]
        return {"devices": named} if code == 0 else {"error": f"code {code}"}

    def gateway_subscribe(self, command):
        self.hub.registerUserCallback(command["filter"], lambda *message: self.messages.put(message[:3]))
        code, _mid = self.hub.gatewaySubdevSubscribe(command["filter"])
        return {"codes": [self.wait_for("subscribed")]} if code == 0 else {"error": f"code {code}"}

    def time(self, _command):
        return {"time": self.hub.getNtpAccurateTime()}

    def disconnect(self, _command):
        self.hub.disconnect()
        return {}


device = None
for line in sys.stdin:
    command = json.loads(line)
    try:
        if command["do"] == "register" or (command["do"] == "connect" and device is None):
            device = Device(command)
        answer = getattr(device, command["do"])(command)
    except Exception as error:  # whatever it is, the test should see it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
