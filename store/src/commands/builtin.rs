//! Holds the commands of Redis 7.0, for servers that deny `COMMAND`.

use super::{Class, Command, KeyPositions, family};

/// The version whose commands these are.
pub const BUILT_IN_OF: &str = "Redis 7.0";

/// Class; first key, last key, step, argument with the number of keys, whether there are other keys; names.
type Row = (Class, (u8, i8, u8, u8, bool), &'static str);

const TABLE: [Row; 21] = [
    (
        Class::Other,
        (0, 0, 0, 0, false),
        "acl asking auth bgrewriteaof bgsave client cluster command config dbsize debug discard \
         echo exec failover flushall flushdb function hello info keys lastsave latency lolwut \
         module monitor multi pfselftest ping psubscribe psync publish pubsub punsubscribe quit \
         randomkey readonly readwrite replconf replicaof reset role save scan script select \
         shutdown slaveof slowlog subscribe swapdb sync time unsubscribe unwatch wait",
    ),
    (Class::Read, (0, 0, 0, 0, true), "xread"),
    (Class::Read, (1, -1, 1, 0, false), "exists mget pfcount sdiff sinter sunion touch"),
    (
        Class::Read,
        (1, 1, 1, 0, false),
        "bitcount bitfield_ro bitpos dump expiretime geodist geohash geopos georadius_ro \
         georadiusbymember_ro geosearch get getbit getrange hexists hget hgetall hkeys hlen hmget \
         hrandfield hscan hstrlen hvals lindex llen lpos lrange pexpiretime pttl scard sismember \
         smembers smismember srandmember sscan strlen substr ttl type xlen xpending xrange \
         xrevrange zcard zcount zlexcount zmscore zrandmember zrange zrangebylex zrangebyscore \
         zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore",
    ),
    (Class::Read, (1, 1, 1, 0, true), "sort_ro"),
    (Class::Read, (1, 2, 1, 0, false), "lcs"),
    (Class::Read, (2, 0, 1, 1, false), "sintercard zdiff zinter zintercard zunion"),
    (Class::Read, (2, 2, 1, 0, false), "memory object xinfo"),
    (Class::Read, (3, 0, 1, 2, false), "eval_ro evalsha_ro fcall_ro"),
    (Class::Write, (0, 0, 0, 0, true), "xreadgroup"),
    (Class::Write, (1, -2, 1, 0, false), "blpop brpop bzpopmax bzpopmin"),
    (
        Class::Write,
        (1, -1, 1, 0, false),
        "del pfmerge sdiffstore sinterstore ssubscribe sunionstore sunsubscribe unlink watch",
    ),
    (Class::Write, (1, -1, 2, 0, false), "mset msetnx"),
    (
        Class::Write,
        (1, 1, 1, 0, false),
        "append bitfield decr decrby expire expireat geoadd getdel getex getset hdel hincrby \
         hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat linsert lpop lpush lpushx lrem lset \
         ltrim move persist pexpire pexpireat pfadd psetex restore restore-asking rpop rpush rpushx \
         sadd set setbit setex setnx setrange spop spublish srem xack xadd xautoclaim xclaim xdel \
         xsetid xtrim zadd zincrby zpopmax zpopmin zrem zremrangebylex zremrangebyrank \
         zremrangebyscore",
    ),
    (Class::Write, (1, 1, 1, 0, true), "georadius georadiusbymember sort zdiffstore zinterstore zunionstore"),
    (
        Class::Write,
        (1, 2, 1, 0, false),
        "blmove brpoplpush copy geosearchstore lmove rename renamenx rpoplpush smove zrangestore",
    ),
    (Class::Write, (2, -1, 1, 0, false), "bitop"),
    (Class::Write, (2, 0, 1, 1, false), "lmpop zmpop"),
    (Class::Write, (2, 2, 1, 0, false), "pfdebug xgroup"),
    (Class::Write, (3, 0, 1, 2, false), "blmpop bzmpop eval evalsha fcall"),
    (Class::Write, (3, 3, 1, 0, true), "migrate"),
];

/// The commands that may wait for data.
const BLOCKING: [&str; 10] = [
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "xread",
    "xreadgroup",
];

/// The commands of [`BUILT_IN_OF`].
#[must_use]
pub fn built_in() -> Vec<Command> {
    let rows = TABLE.iter().flat_map(|(class, (first, last, step, count_at, has_others), names)| {
        let keys = KeyPositions {
            first: *first,
            last: *last,
            step: *step,
            count_at: *count_at,
            has_others: *has_others,
        };
        names.split_whitespace().map(move |name| Command {
            name: name.to_owned(),
            class: *class,
            family: family::built_in(name),
            keys,
            blocks: BLOCKING.contains(&name),
        })
    });
    rows.collect()
}
