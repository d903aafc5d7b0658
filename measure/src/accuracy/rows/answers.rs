//! Answers that close the connection, and interim answers.

use anyhow::Result;
use std::time::Duration;

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, expecting_post_head, get, get_and_close};
use crate::accuracy::rule::Rule;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("pipelined 30, answered, closed", answered),
        Row::new("requests after the client's close", |size| {
            behind_close(
                size,
                get_and_close("last"),
                "last",
                Rule::ExactDespite { why: "exact; requests after the close are reported separately" },
            )
        }),
        Row::new("requests after the server's close", |size| {
            let rule = Rule::NeverRead { why: "they arrived after the last answer of their connection" };
            behind_close(size, get("closes"), "closes", rule)
        }),
        Row::new("interim answer before the body", interim),
    ]
}

fn answered(size: Size) -> Result<Case> {
    const DEPTH: u64 = 30;
    let connections = size.of(20, 200);
    let case = Case::plain(move |server| {
        for _ in 0..connections {
            let mut client = Client::connect(server.addr)?;
            client.send(&get("pipe").repeat(DEPTH as usize))?;
            client.answers(DEPTH)?;
        }
        Ok(Sent { get: connections * DEPTH, set: 0 }.into())
    })?;
    Ok(Case { settles: true, ..case })
}

/// Sends requests after `closing`. Its answer has `Connection: close`, so the server never reads them.
fn behind_close(size: Size, closing: Vec<u8>, key: &'static str, rule: Rule) -> Result<Case> {
    let connections = size.of(20, 200);
    let case = Case::plain(move |server| {
        for _ in 0..connections {
            let mut client = Client::connect(server.addr)?;
            client.exchange(&get("first"))?;
            client.exchange(&[&closing[..], &get("never"), &get("never")].concat())?;
            client.closed()?;
        }
        let keys = ["first", key].map(|key| (key.to_owned(), connections));
        let sent = Sent { get: 2 * connections, set: 0 };
        Ok(WorkloadResult { exact_keys: keys.to_vec(), ..sent.into() })
    })?;
    Ok(Case { rule, settles: true, ..case })
}

/// Writes that wait for `100 Continue` before their body. Their answer is the final one.
fn interim(size: Size) -> Result<Case> {
    const WAIT: Duration = Duration::from_millis(50);
    let rounds = size.of(10, 50);
    Case::plain(move |server| {
        let mut client = Client::connect(server.addr)?;
        let body = get("inside");
        for _ in 0..rounds {
            client.send(&expecting_post_head(body.len()))?;
            client.interim()?;
            #[expect(
                clippy::disallowed_methods,
                reason = "a client's own thread; the time is what is measured"
            )]
            std::thread::sleep(WAIT);
            client.exchange(&body)?;
        }
        let slow_answers = Some((rounds, WAIT.as_secs_f64() * 1_000.0));
        Ok(WorkloadResult { slow_answers, ..Sent { get: 0, set: rounds }.into() })
    })
}
