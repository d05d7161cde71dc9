-- What a device reports means the same whatever way it comes: four ways in, one rule, four rows that differ in nothing but the way.
CREATE RULE readings
  TO republish(topic => '${msg.product}/panel/data')
AS SELECT deviceName() AS device, msg.protocol AS protocol, temp, unit
   FROM 'A1B2C3D4E5/thermometer/event';
