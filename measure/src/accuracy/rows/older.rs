//! Connections that are older than the probe.

use anyhow::Result;

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, get, post, post_head};
use crate::accuracy::rule::Rule;
use crate::accuracy::server::Server;

const CONNECTIONS: u64 = 20;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("older than probe, idle", idle),
        Row::new("older than probe, inside a head", inside_a_head),
        Row::new("older than probe, inside a body", inside_a_body),
    ]
}

/// Opens connections that each send one request before the probe attaches.
fn connect(server: &Server) -> Result<Vec<Client>> {
    (0..CONNECTIONS)
        .map(|_| {
            let mut client = Client::connect(server.addr)?;
            client.exchange(&get("before"))?;
            Ok(client)
        })
        .collect()
}

/// Sends a read and a write on each connection, `rounds` times.
fn go_on(clients: &mut [Client], rounds: u64) -> Result<Sent> {
    for client in &mut *clients {
        for _ in 0..rounds {
            client.exchange(&get("after"))?;
            client.exchange(&post(&get("inside")))?;
        }
    }
    let number = clients.len() as u64 * rounds;
    Ok(Sent { get: number, set: number })
}

fn idle(size: Size) -> Result<Case> {
    let server = Server::on_loopback()?;
    let mut clients = connect(&server)?;
    let rounds = size.of(20, 200);
    Ok(Case::on(server, Rule::Exact, move |_| Ok(go_on(&mut clients, rounds)?.into())))
}

fn inside_a_head(size: Size) -> Result<Case> {
    let server = Server::on_loopback()?;
    let mut clients = connect(&server)?;
    let head = get("between");
    let (first, second) = head.split_at(head.len() / 2);
    for client in &mut clients {
        client.send_apart(&server, [first])?;
    }
    let rounds = size.of(20, 200);
    let rule = Rule::NeverOver {
        heads_per_segment: 1,
        why: "one head per connection began before the probe attached",
    };
    let second = second.to_vec();
    Ok(Case::on(server, rule, move |_| {
        for client in &mut clients {
            client.exchange(&second)?;
        }
        let mut sent = go_on(&mut clients, rounds)?;
        sent.get += CONNECTIONS;
        Ok(sent.into())
    }))
}

fn inside_a_body(size: Size) -> Result<Case> {
    let server = Server::on_loopback()?;
    let mut clients = connect(&server)?;
    let body = get("no-request");
    let head = post_head(body.len());
    for client in &mut clients {
        client.send_apart(&server, [&head[..]])?;
    }
    let rounds = size.of(20, 200);
    let rule = Rule::OverByAtMost {
        requests: CONNECTIONS,
        why: "one per connection. The probe cannot know that a connection was inside a body when it attached. The rest of \
              that body began a segment and looked like a request",
    };
    Ok(Case::on(server, rule, move |_| {
        for client in &mut clients {
            client.exchange(&body)?;
        }
        let sent = go_on(&mut clients, rounds)?;
        Ok(WorkloadResult { note: format!("{CONNECTIONS} connections"), ..sent.into() })
    }))
}
