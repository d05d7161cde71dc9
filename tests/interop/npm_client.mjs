// npm's mqtt, told what to do by lines of JSON. README.md beside this file describes them.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

// The library is not beside this file but where `.ci/setup` has put it.
const mqtt = createRequire(`${process.env.WEIR_INTEROP}/`)("mqtt");

const SOON = 20_000;
const VERSIONS = { "3.1": 3, "3.1.1": 4, 5: 5 };
const NAMES = {
  content_type: "contentType",
  response_topic: "responseTopic",
  expiry: "messageExpiryInterval",
  alias: "topicAlias",
};
// The refusals of CONNACK in MQTT 3 as those of MQTT 5.
const REFUSALS = { 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 };

const connections = new Map();

function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("nothing came")), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function connect(command) {
  const is5 = command.version === "5";
  const scheme = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" }[command.transport];
  const client = mqtt.connect({
    protocol: scheme,
    host: command.host,
    port: command.port,
    path: "/mqtt",
    protocolVersion: VERSIONS[command.version],
    protocolId: command.version === "3.1" ? "MQIsdp" : "MQTT",
    clientId: command.client_id,
    username: command.username,
    password: command.password,
    clean: command.clean,
    reconnectPeriod: 0,
    will: command.will,
    ca: command.ca && readFileSync(command.ca),
    cert: command.certificate && readFileSync(command.certificate),
    key: command.key && readFileSync(command.key),
    properties: is5 ? { sessionExpiryInterval: command.expiry ?? 0 } : undefined,
  });
  const connection = { client, is5, messages: [], waiting: undefined };
  connections.set(command.as, connection);
  client.on("message", (topic, payload, packet) => {
    connection.messages.push(packet);
    connection.waiting?.();
  });
  return within(
    SOON,
    new Promise((resolve, reject) => {
      client.on("connect", (packet) => resolve({ code: 0, session_present: packet.sessionPresent }));
      client.on("error", (error) => {
        if (error.code === undefined || typeof error.code === "string") reject(error);
        else resolve({ code: is5 ? error.code : REFUSALS[error.code], session_present: false });
      });
    }),
  );
}

async function subscribe({ client, is5 }, command) {
  const options = { qos: command.qos };
  if (is5 && command.identifier !== undefined) {
    options.properties = { subscriptionIdentifier: command.identifier };
  }
  const granted = await within(SOON, client.subscribeAsync(command.filter, options));
  return { codes: granted.map((one) => one.qos) };
}

async function publish({ client, is5 }, command) {
  const options = { qos: command.qos, retain: command.retain };
  if (is5 && command.properties) {
    const { user, correlation, ...plain } = command.properties;
    options.properties = {};
    for (const [name, value] of Object.entries(plain)) options.properties[NAMES[name]] = value;
    if (correlation) options.properties.correlationData = Buffer.from(correlation);
    if (user) {
      options.properties.userProperties = {};
      for (const [name, value] of user) (options.properties.userProperties[name] ??= []).push(value);
    }
  }
  await within(SOON, client.publishAsync(command.topic, command.payload, options));
  return {};
}

async function receive(connection, command) {
  if (connection.messages.length === 0) {
    const came = new Promise((resolve) => {
      connection.waiting = resolve;
    });
    await within(command.within * 1000, came).catch(() => undefined);
  }
  const packet = connection.messages.shift();
  if (packet === undefined) return {};
  const given = packet.properties ?? {};
  const properties = {};
  for (const [name, property] of Object.entries(NAMES)) {
    if (given[property] !== undefined) properties[name] = given[property];
  }
  if (given.correlationData) properties.correlation = given.correlationData.toString();
  if (given.userProperties) {
    const pairs = Object.entries(given.userProperties);
    properties.user = pairs.flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
  }
  if (given.subscriptionIdentifier !== undefined) properties.identifiers = [given.subscriptionIdentifier].flat();
  const { topic, qos, retain } = packet;
  return { topic, payload: packet.payload.toString(), qos, retain, properties };
}

async function cut({ client }) {
  client.stream.destroy();
  return {};
}

async function disconnect({ client }) {
  await within(SOON, client.endAsync());
  return {};
}

const commands = { subscribe, publish, receive, cut, disconnect };
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    answer =
      command.do === "connect"
        ? await connect(command)
        : await commands[command.do](connections.get(command.as), command);
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit();
