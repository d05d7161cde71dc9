//! mosquitto's command line clients.
