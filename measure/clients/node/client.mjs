// Traffic of ioredis on a cluster: client.mjs HOST:PORT SECONDS.
import { createRequire } from "node:module";
import assert from "node:assert";
import { Cluster, Redis } from "ioredis";

const [host, port] = process.argv[2].split(":");
const end = Date.now() + 1000 * Number(process.argv[3]);
const nodes = [{ host, port: Number(port) }];
const plain = new Cluster(nodes);
const piped = new Cluster(nodes, { enableAutoPipelining: true });
const replicas = new Cluster(nodes, { scaleReads: "all" });
const subscriber = new Redis({ host, port: Number(port) });
let rounds = 0;
let messages = 0;
subscriber.on("message", () => (messages += 1));
await subscriber.subscribe("news");

const numbers = Array.from({ length: 100 }, (_, n) => n);
while (Date.now() < end) {
  for (const n of numbers.slice(0, 50)) {
    await plain.set(`node-${n}`, n);
    assert.equal(await plain.get(`node-${n}`), String(n));
  }
  // Commands of one turn of the event loop share a pipeline of each node.
  const ended = await Promise.allSettled(
    numbers.flatMap((n) => [piped.incr(`node-count-${n}`), piped.hset(`node-hash-${n}`, "field", n)]),
  );
  // An automatic pipeline does not follow a redirection.
  for (const { reason } of ended) assert(reason === undefined || /^(MOVED|ASK|TRYAGAIN|All keys)/.test(reason.message), reason);
  await Promise.all(numbers.map((n) => replicas.get(`node-${n}`)));

  const pipeline = plain.pipeline();
  for (const n of numbers) pipeline.set(`{node}${n}`, n).zadd(`{node}set`, n, `member-${n}`);
  assert.equal((await pipeline.exec()).length, 200);

  const done = await plain.multi().set("{node}a", rounds).get("{node}a").expire("{node}a", 60).exec();
  assert.equal(done[1][1], String(rounds));
  await plain.publish("news", rounds);
  rounds += 1;
}

for (const client of [plain, piped, replicas, subscriber]) await client.quit();
const { version } = createRequire(import.meta.url)("ioredis/package.json");
const features = "automatic and explicit pipelines, MULTI, reads from replicas, pub/sub";
console.log(JSON.stringify({ client: `ioredis ${version}`, features, rounds, messages, cached: 0 }));
