//! Groups commands into families: the server's own ACL categories of data types.

use crate::reply::Reply;

/// A family of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// None of the others, or several types of data, such as SORT.
    #[default]
    Other,
    /// Strings: GET, SET, INCR.
    String,
    /// Bits of strings: SETBIT, BITFIELD.
    Bitmap,
    /// Hashes: HSET, HGETALL.
    Hash,
    /// Lists: LPUSH, LRANGE.
    List,
    /// Sets: SADD, SINTER.
    Set,
    /// Sorted sets: ZADD, ZRANGE.
    SortedSet,
    /// Streams: XADD, XRANGE.
    Stream,
    /// Positions: GEOADD, GEOSEARCH.
    Geo,
    /// Estimated counts: PFADD, PFCOUNT.
    HyperLogLog,
    /// Keys of any type: DEL, EXPIRE.
    Keyspace,
    /// Scripts and functions: EVAL, FCALL.
    Scripting,
    /// JSON documents of a module.
    Json,
    /// Searches of a module.
    Search,
    /// Time series of a module.
    TimeSeries,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 15] = [
        Self::Other,
        Self::String,
        Self::Bitmap,
        Self::Hash,
        Self::List,
        Self::Set,
        Self::SortedSet,
        Self::Stream,
        Self::Geo,
        Self::HyperLogLog,
        Self::Keyspace,
        Self::Scripting,
        Self::Json,
        Self::Search,
        Self::TimeSeries,
    ];

    /// The server's name of the category, without `@`; `other` for the rest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sortedset",
            Self::Stream => "stream",
            Self::Geo => "geo",
            Self::HyperLogLog => "hyperloglog",
            Self::Keyspace => "keyspace",
            Self::Scripting => "scripting",
            Self::Json => "json",
            Self::Search => "search",
            Self::TimeSeries => "timeseries",
        }
    }

    /// The family with this name of a category, such as `@string`.
    fn of_category(category: &str) -> Option<Self> {
        let name = category.strip_prefix('@')?;
        Self::ALL.into_iter().skip(1).find(|family| family.name() == name)
    }
}

/// The family of a command with these ACL categories. `None` if no category is a family.
pub(super) fn of_categories<'a>(categories: impl Iterator<Item = &'a Reply>) -> Option<Family> {
    let mut families = categories.filter_map(Reply::text).filter_map(Family::of_category);
    let first = families.next()?;
    Some(if families.all(|other| other == first) { first } else { Family::Other })
}

/// The families of the commands with keys that Redis 7.0 has, for a server that does not report categories.
const BUILT_IN: [(Family, &str); 11] = [
    (
        Family::String,
        "append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx \
         psetex set setex setnx setrange strlen substr",
    ),
    (Family::Bitmap, "bitcount bitfield bitfield_ro bitop bitpos getbit setbit"),
    (
        Family::Hash,
        "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx \
         hstrlen hvals",
    ),
    (
        Family::List,
        "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange \
         lrem lset ltrim rpop rpoplpush rpush rpushx",
    ),
    (
        Family::Set,
        "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop \
         srandmember srem sscan sunion sunionstore",
    ),
    (
        Family::SortedSet,
        "bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore \
         zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore \
         zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex \
         zrevrangebyscore zrevrank zscan zscore zunion zunionstore",
    ),
    (
        Family::Stream,
        "xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid \
         xtrim",
    ),
    (
        Family::Geo,
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro \
         geosearch geosearchstore",
    ),
    (Family::HyperLogLog, "pfadd pfcount pfdebug pfmerge pfselftest"),
    (
        Family::Keyspace,
        "copy dbsize del dump exists expire expireat expiretime flushall flushdb keys migrate move object \
         persist pexpire pexpireat pexpiretime pttl randomkey rename renamenx restore \
         restore-asking scan swapdb touch ttl type unlink",
    ),
    (Family::Scripting, "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script"),
];

/// The family of a command of Redis 7.0.
pub(super) fn built_in(name: &str) -> Family {
    let mut families = BUILT_IN.iter();
    let found = families.find(|(_, names)| names.split_whitespace().any(|known| known == name));
    found.map(|(family, _)| *family).unwrap_or_default()
}
