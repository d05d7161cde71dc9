"""Does one thing with aiocoap, and prints what came of it.

usage: aiocoap_client.py get URI | put URI FILE | post URI FILE | observe URI COUNT

`get`, `put` and `post` print the code and, on a second line, the payload in hexadecimal. `observe` prints "observing" and then the
payload of each notification in hexadecimal, and ends after COUNT of them by cancelling.
"""

import asyncio
import sys

import aiocoap


async def main(verb, uri, *rest):
    context = await aiocoap.Context.create_client_context()
    if verb == "observe":
        request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
        first = await request.response
        if not first.code.is_successful():
            print(first.code, flush=True)
            return
        print("observing", flush=True)
        left = int(rest[0])
        async for notification in request.observation:
            print(notification.payload.hex(), flush=True)
            left -= 1
            if left == 0:
                break
        request.observation.cancel()
        # The cancellation is a message that has yet to go.
        await asyncio.sleep(0.5)
    else:
        code = {"get": aiocoap.GET, "put": aiocoap.PUT, "post": aiocoap.POST}[verb]
        payload = open(rest[0], "rb").read() if rest else b""
        response = await context.request(aiocoap.Message(code=code, uri=uri, payload=payload)).response
        print(response.code)
        print(response.payload.hex())
    await context.shutdown()


asyncio.run(main(*sys.argv[1:]))
