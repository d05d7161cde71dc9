-- What is too hot is shown at the panel and told to a server. A message passes both ways as what the SELECT made of it.
CREATE RULE overheat
  TO republish(topic => '${msg.product}/panel/control'),
     webhook(url => 'http://127.0.0.1:9000/hot')
AS SELECT deviceName() AS device, temp, temp * 9 / 5 + 32 AS fahrenheit
   FROM 'A1B2C3D4E5/+/event'
   WHERE temp > 30;
