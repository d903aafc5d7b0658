// Traffic of Lettuce on a cluster: Client HOST:PORT SECONDS.

import io.lettuce.core.LettuceFutures;
import io.lettuce.core.LettuceVersion;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.TrackingArgs;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.support.caching.CacheAccessor;
import io.lettuce.core.support.caching.ClientSideCaching;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

class Client {
    public static void main(String[] args) throws Exception {
        var uri = RedisURI.create("redis://" + args[0]);
        var cluster = RedisClusterClient.create(uri);
        var connection = cluster.connect();
        var news = cluster.connectPubSub();
        var messages = new AtomicInteger();
        news.addListener(new RedisPubSubAdapter<String, String>() {
            @Override
            public void message(String channel, String message) {
                messages.incrementAndGet();
            }
        });
        news.sync().subscribe("news");

        // Client-side caching exists for one node; redirected keys are read without it.
        var single = RedisClient.create(uri);
        var tracked = single.connect();
        var cache = new ConcurrentHashMap<String, String>();
        var caching = ClientSideCaching.<String, String>enable(CacheAccessor.forMap(cache), tracked, TrackingArgs.Builder.enabled());

        int rounds = 0;
        long end = System.nanoTime() + (long) (1e9 * Double.parseDouble(args[1]));
        while (System.nanoTime() < end) {
            for (int n = 0; n < 50; n++) {
                connection.sync().set("java-" + n, "" + n);
                if (!connection.sync().get("java-" + n).equals("" + n)) throw new IllegalStateException();
            }
            connection.setAutoFlushCommands(false);
            List<RedisFuture<?>> futures = new ArrayList<>();
            for (int n = 0; n < 100; n++) {
                futures.add(connection.async().incr("java-count-" + n));
                futures.add(connection.async().hset("java-hash-" + n, "field", "" + rounds));
            }
            connection.flushCommands();
            connection.setAutoFlushCommands(true);
            if (!LettuceFutures.awaitAll(Duration.ofSeconds(30), futures.toArray(RedisFuture[]::new))) throw new IllegalStateException();
            for (int n = 0; n < 100; n++) {
                try {
                    caching.get("java-" + n / 2);
                } catch (io.lettuce.core.RedisCommandExecutionException elsewhere) {
                    if (!elsewhere.getMessage().startsWith("MOVED") && !elsewhere.getMessage().startsWith("ASK")) throw elsewhere;
                }
            }
            connection.sync().publish("news", "" + rounds++);
        }
        System.out.printf("{\"client\":\"Lettuce %s\",\"features\":\"%s\",\"rounds\":%d,\"messages\":%d,\"cached\":%d}%n",
            LettuceVersion.getVersion(), "pipelines by delayed flush, RESP3, client-side cache, pub/sub", rounds, messages.get(), cache.size());
        single.shutdown();
        cluster.shutdown();
    }
}
