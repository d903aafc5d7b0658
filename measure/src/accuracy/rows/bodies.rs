//! Bodies that look like requests.

use crate::accuracy::case::{Case, Row, Sent};
use crate::accuracy::client::{Client, get, post, post_head};
use crate::accuracy::rule::Rule;
use crate::accuracy::server::Server;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("POST, a request head in its body", |size| {
            let rounds = size.of(500, 5_000);
            Case::plain(move |server| {
                let mut connection = Client::connect(server.addr)?;
                let body = [b"{}\r\n\r\n".to_vec(), get("a"), post(b"x"), get("b")].concat();
                for _ in 0..rounds {
                    connection.exchange(&post(&body))?;
                }
                Ok(Sent { get: 0, set: rounds }.into())
            })
        }),
        Row::new("POST, its body's segment is a head", |size| {
            let rounds = size.of(300, 3_000);
            Case::plain(move |server| {
                let mut connection = Client::connect(server.addr)?;
                let inner = get("a");
                let head = post_head(2 * inner.len());
                for _ in 0..rounds {
                    connection.send_apart(server, [&head[..], &inner, &inner])?;
                    connection.answers(1)?;
                    connection.exchange(&get("real"))?;
                }
                Ok(Sent { get: rounds, set: rounds }.into())
            })
        }),
        Row::new("chunked, a head in each chunk", |size| {
            let rounds = size.of(200, 2_000);
            let rule = Rule::ExactSaying {
                reason: "chunked",
                why: "chunked bodies are not parsed; the heads before and after them are",
            };
            Ok(Case::on(Server::on_loopback()?, rule, move |server| {
                let mut connection = Client::connect(server.addr)?;
                let inner = get("a");
                let head = b"POST /data HTTP/1.1\r\nHost: shard\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("{:x}\r\n", inner.len()).into_bytes();
                for _ in 0..rounds {
                    let parts = [&head[..], &chunk, &inner, b"\r\n", b"0\r\n\r\n"];
                    connection.send_apart(server, parts)?;
                    connection.answers(1)?;
                    connection.exchange(&get("real"))?;
                }
                Ok(Sent { get: rounds, set: rounds }.into())
            }))
        }),
    ]
}
