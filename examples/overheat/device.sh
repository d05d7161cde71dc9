#!/bin/sh
# A thermometer that warms up: publishes {"temp": 25}, 26, 27 … up to 35, one a second, by mosquitto_pub at QoS 1.
#
# usage: device.sh PRODUCT DEVICE [SECONDS BETWEEN TWO]
set -eu

product=$1
device=$2
pause=${3:-1}

credentials=$(weir device connect "$product" "$device" -o json)
field() {
    printf '%s' "$credentials" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

for temp in $(seq 25 35); do
    printf '{"temp": %s}\n' "$temp"
    sleep "$pause"
done | mosquitto_pub -h "$(field host)" -p "$(field port)" -i "$(field client_id)" \
    -u "$(field username)" -P "$(field password)" -q 1 -t "$product/$device/event" -l
