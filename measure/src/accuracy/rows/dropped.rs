//! Segments that reach the server's machine but not its application in order: TCP drops them, or they are urgent data.

use anyhow::Result;

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, get, post};
use crate::accuracy::rule::Rule;
use crate::accuracy::segment::Fault;

/// Long enough for a segment of more than 76 bytes, whose checksum the kernel verifies late.
const KEY: &str = "sound-and-long-enough-for-a-late-verification";
const OTHER_KEY: &str = "wrong-and-long-enough-for-a-late-verification";

pub(super) fn rows() -> Vec<Row> {
    let faults = Fault::ALL
        .into_iter()
        .map(|fault| Row::new(&format!("TCP drops: {}", fault.name()), move |size| dropped(size, fault)));
    faults.chain([Row::new("urgent data", urgent)]).collect()
}

/// Sends a faulty segment before every true request, at the same place of the stream.
fn dropped(size: Size, fault: Fault) -> Result<Case> {
    let rounds = size.of(50, 500);
    let case = Case::plain(move |server| {
        let mut client = Client::connect(server.addr)?;
        for _ in 0..rounds {
            client.exchange(&get(KEY))?;
            client.send_faulty(&get(OTHER_KEY), fault)?;
            client.exchange(&post(&get("inside")))?;
            client.send_faulty(&get(OTHER_KEY), fault)?;
        }
        let sent = Sent { get: rounds, set: rounds };
        let note = format!("{} segments were dropped", 2 * rounds);
        Ok(WorkloadResult { exact_keys: vec![(KEY.to_owned(), rounds)], note, ..sent.into() })
    })?;
    let rule = Rule::ExactDespite { why: "exact; the dropped segments are reported" };
    Ok(Case { rule, ..case })
}

/// An urgent byte inside a head: the application reads the head without it.
fn urgent(size: Size) -> Result<Case> {
    let rounds = size.of(50, 500);
    let case = Case::plain(move |server| {
        for _ in 0..rounds {
            let mut client = Client::connect(server.addr)?;
            client.exchange(&get("before"))?;
            let head = get("around");
            let (first, second) = head.split_at(head.len() / 4);
            client.send_apart(server, [first])?;
            client.send_urgent(b'!')?;
            client.exchange(second)?;
            client.exchange(&get("after"))?;
        }
        Ok(WorkloadResult {
            exact_keys: vec![("before".to_owned(), rounds)],
            ..Sent { get: 3 * rounds, set: 0 }.into()
        })
    })?;
    let rule = Rule::NeverOver {
        heads_per_segment: 1,
        why: "bytes that the application does not read in order are not part of the stream",
    };
    Ok(Case { rule, ..case })
}
