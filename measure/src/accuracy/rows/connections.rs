//! Requests one at a time in order, and how connections begin and end.

use crate::accuracy::case::{Case, Row, Sent, together};
use crate::accuracy::client::{Client, get, get_and_close, post};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("keep-alive, 4 connections", |size| {
            let number = size.of(5_000, 30_000);
            Case::plain(move |server| {
                let sent = together(4, |client| {
                    let mut connection = Client::connect(server.addr)?;
                    let mut sent = Sent::default();
                    for index in 0..number {
                        if index % 8 == 7 {
                            connection.exchange(&post(br#"{"key":"a","value":{}}"#))?;
                            sent.set += 1;
                        } else {
                            connection.exchange(&get(&format!("user-{client}-{index}")))?;
                            sent.get += 1;
                        }
                    }
                    Ok(sent)
                });
                Ok(sent?.into())
            })
        }),
        Row::new("a new connection per request", |size| {
            let number = size.of(1_000, 5_000);
            Case::plain(move |server| {
                let sent = together(2, |_| {
                    for _ in 0..number {
                        let mut connection = Client::connect(server.addr)?;
                        connection.exchange(&get_and_close("once"))?;
                        connection.closed()?;
                    }
                    Ok(Sent { get: number, set: 0 })
                });
                Ok(sent?.into())
            })
        }),
        Row::new("control calls and other methods", |size| {
            let rounds = size.of(50, 500);
            Case::plain(move |server| {
                let mut connection = Client::connect(server.addr)?;
                for _ in 0..rounds {
                    for line in [
                        "GET /stats",
                        "GET /health",
                        "GET /metrics",
                        "POST /admin/reset",
                        "HEAD /data/a",
                        "DELETE /data/a",
                        "GET /data/",
                        "GET /data",
                        "GET /database/a",
                        "POST /data/a",
                    ] {
                        connection.exchange(format!("{line} HTTP/1.1\r\nHost: shard\r\n\r\n").as_bytes())?;
                    }
                    connection.exchange(&get("a?b=c"))?;
                }
                Ok(Sent { get: rounds, set: 0 }.into())
            })
        }),
        Row::new("client hangs up before the answer", |size| {
            let number = size.of(200, 2_000);
            Case::plain(move |server| {
                for _ in 0..number {
                    let before = server.counts().get;
                    let mut connection = Client::connect(server.addr)?;
                    connection.send(&get("gone"))?;
                    drop(connection);
                    server.until(|counts| counts.get > before)?;
                }
                Ok(Sent { get: number, set: 0 }.into())
            })
        }),
        Row::new("connection ends inside a head", |size| {
            let number = size.of(100, 1_000);
            Case::plain(move |server| {
                for _ in 0..number {
                    let mut connection = Client::connect(server.addr)?;
                    connection.exchange(&get("whole"))?;
                    let head = get("half");
                    connection.send(&head[..head.len() - 1])?;
                }
                Ok(Sent { get: number, set: 0 }.into())
            })
        }),
    ]
}
