#!/bin/sh
# One reading by four ways: MQTT (mosquitto_pub), WebSocket (websocket.py), CoAP (libcoap's coap-client) and HTTP (curl).
#
# usage: publish.sh PRODUCT DEVICE [READING]
set -eu

product=$1
device=$2
reading=${3:-'{"temp": 21.5, "unit": "C"}'}
here=$(dirname "$0")

credentials=$(weir device connect "$product" "$device" -o json)
field() {
    printf '%s' "$credentials" | python3 -c '
import json, sys
found = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    found = found[name]
print(found)' "$1"
}
# Debian has a client for each TLS library; others have one.
coap_client=$(command -v coap-client || command -v coap-client-openssl || command -v coap-client-gnutls)

user=$(field username)
password=$(field password)
topic=$product/$device/event

mosquitto_pub -h "$(field host)" -p "$(field port)" -i "$(field client_id)" -u "$user" -P "$password" -q 1 \
    -t "$topic" -m "$reading"

python3 "$here/websocket.py" "$(field ws.host)" "$(field ws.port)" "$user" "$password" "$topic" "$reading"

"$coap_client" -m post -t application/json -e "$reading" \
    "coap://$(field coap.host):$(field coap.port)/$topic?token=$password"

curl --silent --show-error --fail --output /dev/null --noproxy '*' -H "Authorization: Bearer $password" \
    -H 'Content-Type: application/json' -d "$reading" \
    "http://$(field ws.host):$(field ws.port)/device/v1/$product/$device/messages/event"
