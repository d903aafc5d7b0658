"""Traffic of redis-py on a cluster: client.py HOST:PORT SECONDS."""

import importlib.metadata
import json
import sys
import time

from redis.cache import CacheConfig
from redis.cluster import RedisCluster

host, port = sys.argv[1].rsplit(":", 1)
end = time.monotonic() + float(sys.argv[2])
plain = RedisCluster(host=host, port=int(port), protocol=2)
# redis-py refuses its cache for a server before 7.4.
version = plain.info("server", target_nodes="random")["redis_version"]
caches = tuple(int(part) for part in version.split(".")[:2]) >= (7, 4)
cached = RedisCluster(host=host, port=int(port), protocol=3, cache_config=CacheConfig() if caches else None)
listener = plain.pubsub()
listener.subscribe("news")
rounds = messages = hits = 0

while time.monotonic() < end:
    for n in range(50):
        plain.set(f"py-{n}", n)
        assert int(plain.get(f"py-{n}")) == n
    plain.mset_nonatomic({f"py-{n}": n for n in range(50)})

    pipeline = plain.pipeline()
    for n in range(100):
        pipeline.incr(f"py-count-{n}").hset(f"py-hash-{n}", mapping={"field": n, "round": rounds})
    assert len(pipeline.execute()) == 200

    transaction = plain.pipeline(transaction=True)
    transaction.set("{py}a", rounds).get("{py}a").expire("{py}a", 60)
    assert int(transaction.execute()[1]) == rounds

    # The second read of a key comes from the client's cache, unless the key has changed.
    for n in range(50):
        cached.get(f"py-{n}")
        cached.get(f"py-{n}")
    hits = cached.get_cache().size if caches else 0

    plain.publish("news", rounds)
    while message := listener.get_message(timeout=0.01):
        messages += message["type"] == "message"
    rounds += 1

listener.close()
features = "pipeline, MULTI, RESP2 and RESP3, pub/sub" + (", client-side cache" if caches else "")
print(json.dumps({"client": "redis-py " + importlib.metadata.version("redis"), "features": features,
                  "rounds": rounds, "messages": messages, "cached": hits}))
