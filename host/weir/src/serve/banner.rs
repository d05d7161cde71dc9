//! What a person who starts the hub sees first.

use crate::data::Endpoints;

/// Where the hub is, and the next command to type.
pub(super) fn banner(endpoints: &Endpoints, folder: &str, data_flag: &str, first_time: bool) -> String {
    let Endpoints { version, mqtt, mqtts, ws, wss, http, coap, coaps, .. } = endpoints;
    let mqtts = mqtts.as_ref().map(|mqtts| format!("  MQTT, TLS   {mqtts}\n")).unwrap_or_default();
    let wss = wss.as_ref().map(|wss| format!("  wss://{wss}")).unwrap_or_default();
    let coaps = coaps.as_ref().map(|coaps| format!("  coaps://{coaps}")).unwrap_or_default();
    let coap = coap.as_ref().map(|coap| format!("  CoAP        coap://{coap}{coaps}\n")).unwrap_or_default();
    let next = if first_time {
        format!(
            "Next, in another terminal:\n  \
             weir create product --id A1B2C3D4E5{data_flag}\n  \
             weir create device A1B2C3D4E5 first{data_flag}\n  \
             weir device connect A1B2C3D4E5 first{data_flag}"
        )
    } else {
        format!("Next, in another terminal:\n  weir status{data_flag}")
    };
    format!(
        "weir {version}\n  MQTT        {mqtt}\n{mqtts}  WebSocket   ws://{ws}{wss}\n{coap}  management  {http}\n  \
         data        {folder}\n\n{next}\n"
    )
}
