"""Serialization of the metadata of tasks and replies by flare-fobs, compared with msgpack alone."""

import time

import msgpack

import flare_fobs

METADATA = {
    "task": "train",
    "round": 17,
    "rounds": 100,
    "site": "site-12",
    "metrics": {f"metric-{number}": number / 7 for number in range(20)},
    "tags": ["pytorch", "mnist", "iid"] * 5,
    "nested": {"a": {"b": {"c": [1, 2, 3, None, True, "text"]}}},
    "blob": bytes(200),
}


def seconds(function, times=5000):
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            function()
        best = min(best, time.perf_counter() - began)
    return best / times


packed, dumped = msgpack.packb(METADATA), flare_fobs.dumps(METADATA)
assert flare_fobs.loads(dumped) == METADATA
print("write", seconds(lambda: msgpack.packb(METADATA)) / seconds(lambda: flare_fobs.dumps(METADATA)))
print("read", seconds(lambda: msgpack.unpackb(packed)) / seconds(lambda: flare_fobs.loads(dumped)))
