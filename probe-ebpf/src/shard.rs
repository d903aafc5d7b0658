//! Which shard an endpoint, or a socket, belongs to.

use core::ptr::NonNull;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
    programs::SkBuffContext,
};
use probe_common::{
    MAX_ENDPOINTS,
    endpoint::Endpoint,
    socket::{Owner, Socket},
};

use crate::{
    array, atomic,
    packet::{End, Packet},
};

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// How often user space has changed [`SHARDS`]: what was found before is looked for again.
#[map]
static CHANGES: Array<u32> = Array::with_max_entries(1, 0);

/// The number of the shard that listens there, if one does.
#[inline(always)]
pub fn find(key: &Words) -> Option<u32> {
    // SAFETY: entries are replaced by user space only, as a whole; a stale number is still a number.
    SHARDS.get_ptr(key.endpoint()).map(|shard| unsafe { *shard })
}

/// The shard at an end of a packet, whose socket at that end has this storage. What is found is kept there.
#[inline(always)]
pub fn of_packet(
    context: &SkBuffContext,
    packet: &Packet,
    end: End,
    storage: Option<NonNull<Socket>>,
) -> Option<u32> {
    let Some(storage) = storage else { return find(&packet.at(context, end)?) };
    // Before the look into `SHARDS`: user space moves it after a change there, so that what was found too early is void.
    // SAFETY: a number that user space replaces as a whole.
    let changes = unsafe { array::value(&CHANGES, 0)?.read_volatile() };
    // SAFETY: a word of a socket's storage, which says itself how long it holds.
    let owner = unsafe { &raw mut (*storage.as_ptr()).owner };
    // SAFETY: the same.
    if let Some(shard) = unsafe { owner.read_volatile() }.shard(changes) {
        return Some(shard);
    }
    // An exchange, as a processor that reorders reads does not move them across it.
    // SAFETY: the same.
    unsafe { atomic::exchange(owner.cast(), 0) };
    let shard = find(&packet.at(context, end)?)?;
    // SAFETY: the same.
    unsafe { owner.write_volatile(Owner::found(shard, changes)) };
    Some(shard)
}

/// An endpoint in whole words: without `CAP_PERFMON` the verifier of 6.1 refuses a map key that was put on the stack
/// byte by byte.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Words([u64; 3]);

impl Words {
    /// The words of an endpoint.
    #[inline(always)]
    pub fn of(endpoint: Endpoint) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = endpoint.address;
        let words = [
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            // The kernel programs are little-endian: the port comes first, then the padding.
            u64::from(endpoint.port),
        ];
        let mut key = Self([0; 3]);
        for (place, word) in key.0.iter_mut().zip(words) {
            // SAFETY: a live `u64`; volatile, so that the compiler does not go back to bytes.
            unsafe { core::ptr::write_volatile(place, word) };
        }
        key
    }

    /// Whether both are one endpoint.
    #[inline(always)]
    pub fn are(&self, other: &Self) -> bool {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z) == 0
    }

    #[inline(always)]
    fn endpoint(&self) -> &Endpoint {
        // SAFETY: `Endpoint` is 20 bytes of integers, any value of which is one; the words are 24, and aligned to more.
        unsafe { &*self.0.as_ptr().cast::<Endpoint>() }
    }
}
