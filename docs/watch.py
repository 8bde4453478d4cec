"""Prints what a live socket says: ``python docs/watch.py ws://…``; needs only the websockets
package."""

import sys

from websockets.sync.client import connect

with connect(sys.argv[1]) as socket:
    for frame in socket:
        print(frame, flush=True)
