//! Counts requests that end without an answer.

use probe_common::{requests::Requests, responses::Responses, socket::Socket, stream::Arrived};

use crate::{atomic, program::Program, request_counters};

/// Handles a reset by the shard, which has not read the last bytes.
#[inline(always)]
pub fn reset<P: Program>(storage: *mut Socket, shard: u32) -> Option<()> {
    if !P::pairs_answers(storage.cast()) {
        return None;
    }
    // SAFETY: as in `follow`.
    let (stream, responses) = unsafe { (&(*storage).stream, &mut (*storage).responses) };
    let (least, most) = responses.outstanding(stream.arrived);
    if most == 0 {
        return None;
    }
    // The last request is unread if no byte follows its head.
    let unread = u32::from(least > 0 && stream.is_at_boundary());
    never_read(responses, shard, stream.arrived, unread, most - unread)
}

/// Counts data requests that get no answer: some are never read, and others may have been read.
#[inline(always)]
pub fn never_read(
    responses: &mut Responses,
    shard: u32,
    arrived: Arrived,
    never: u32,
    maybe: u32,
) -> Option<()> {
    let counters = request_counters::pointer(shard)?;
    let aborted = responses.aborted;
    responses.aborted = 0;
    responses.answers = arrived.requests();
    // SAFETY: counters of the map's value for this CPU.
    unsafe {
        atomic::add(&raw mut (*counters).aborted_settled, u64::from(aborted));
        atomic::add(&raw mut (*counters).never_read, u64::from(never));
        atomic::add(&raw mut (*counters).aborted, u64::from(maybe));
    }
    Some(())
}

/// Settles aborted requests of a closed connection that have their answer after all: a client's FIN and an answer may have
/// met on two CPUs, each unaware of the other.
#[inline(always)]
pub fn settle_closed(storage: *mut Socket, shard: u32) -> Option<()> {
    // SAFETY: a socket's storage lives as long as the program runs. No packet of a closed connection is sent.
    let (stream, responses) = unsafe { (&(*storage).stream, &mut (*storage).responses) };
    let (_, most) = responses.outstanding(stream.arrived);
    if responses.aborted <= most {
        return None;
    }
    let settled = responses.aborted - most;
    responses.aborted = most;
    let counters: *mut Requests = request_counters::pointer(shard)?;
    // SAFETY: a counter of the map's value for this CPU.
    unsafe { atomic::add(&raw mut (*counters).aborted_settled, u64::from(settled)) };
    Some(())
}

/// Counts requests that have their answer.
#[inline(always)]
pub fn settle(responses: &mut Responses, shard: u32, answers: u32, arrived: Arrived) -> Option<()> {
    responses.settle(answers, arrived);
    if responses.aborted > 0 {
        let settled = if answers < responses.aborted { answers } else { responses.aborted };
        responses.aborted -= settled;
        let counters: *mut Requests = request_counters::pointer(shard)?;
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(&raw mut (*counters).aborted_settled, u64::from(settled)) };
    }
    Some(())
}
