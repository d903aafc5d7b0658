# Varnish in front of the shards. `cargo xtask bench gateway` replaces the names in @ and starts it with
# -s malloc,@CACHE_BYTES@ -t 86400.
vcl 4.1;

import directors;

backend shard0 { .host = "127.0.0.1"; .port = "@SHARD_PORT0@"; }
backend shard1 { .host = "127.0.0.1"; .port = "@SHARD_PORT1@"; }
backend shard2 { .host = "127.0.0.1"; .port = "@SHARD_PORT2@"; }
backend shard3 { .host = "127.0.0.1"; .port = "@SHARD_PORT3@"; }

sub vcl_init {
    new shards = directors.hash();
    shards.add_backend(shard0, 1.0);
    shards.add_backend(shard1, 1.0);
    shards.add_backend(shard2, 1.0);
    shards.add_backend(shard3, 1.0);
}

sub vcl_recv {
    set req.backend_hint = shards.backend(req.url);
}
