//! A proxy in front of one server that breaks its answers on request.
//!
//! Requests always pass unchanged, so that the server and the kernel count each of them.

use anyhow::Result;
use load::client::answer_length;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What the proxy does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Passes it on.
    Pass,
    /// Passes it on after this time.
    Late(Duration),
    /// Sends bytes that are no HTTP in its place, and closes.
    Garbage,
    /// Sends its first half, and closes.
    Half,
    /// Sends its first half, and resets the connection.
    Reset,
    /// Announces 1 GiB in its place and sends as much as the client takes.
    Huge,
    /// Sends it a byte a second.
    Drip,
    /// Sends nothing.
    Mute,
    /// Passes it on and closes at once, without having announced it.
    CloseAfter,
    /// Replaces the key in it by another one.
    WrongKey,
    /// Sends `100 Continue` without an end in its place.
    Interim,
    /// Resets each connection.
    Gone,
}

/// Pause between the packets of [`Answers::Interim`].
const INTERIM_PAUSE: Duration = Duration::from_millis(50);

/// The bytes that [`Answers::Huge`] announces.
const HUGE: usize = 1 << 30;

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    answers: watch::Sender<Answers>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `target`.
    pub(crate) async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, (answers, now)) = (listener.local_addr()?, watch::channel(Answers::Pass));
        let accepting = tokio::spawn(async move {
            loop {
                // A connection that failed before it was accepted concerns its client only.
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(client, target, now.clone()));
            }
        });
        Ok(Self { addr, answers, accepting })
    }

    /// Changes what becomes of answers from now on.
    pub(crate) fn set(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, target: SocketAddr, mut now: watch::Receiver<Answers>) {
    if *now.borrow() == Answers::Gone {
        reset(&client);
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move {
        // Ends when the client closes; the server then gets the end too.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        (from_client, to_server)
    });
    let mut gone = now.clone();
    let to_client = tokio::select! {
        to_client = answer_all(from_server, to_client, &mut now) => to_client,
        _ = gone.wait_for(|answers| *answers == Answers::Gone) => None,
    };
    requests.abort();
    // With its reading half gone too, an unread request makes the close a reset, as with a server that ends.
    drop(to_client);
}

/// Passes on answers until the connection ends, or must end.
async fn answer_all(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    now: &mut watch::Receiver<Answers>,
) -> Option<OwnedWriteHalf> {
    let mut buffer = Vec::new();
    loop {
        let length = match answer_length(&buffer) {
            Some(length) => length,
            None if server.read_buf(&mut buffer).await.unwrap_or(0) > 0 => continue,
            None => return Some(client),
        };
        let answer: Vec<u8> = buffer.drain(..length).collect();
        let kind = *now.borrow_and_update();
        let goes_on = break_answer(kind, &answer, &mut client, now).await;
        if !goes_on.unwrap_or(false) {
            if kind == Answers::Reset {
                let _ = client.as_ref().set_zero_linger();
            }
            return Some(client);
        }
    }
}

/// Sends what becomes of `answer`. Returns whether the connection goes on.
async fn break_answer(
    kind: Answers,
    answer: &[u8],
    client: &mut OwnedWriteHalf,
    now: &mut watch::Receiver<Answers>,
) -> std::io::Result<bool> {
    let half = &answer[..answer.len() / 2];
    match kind {
        Answers::Pass => client.write_all(answer).await?,
        Answers::Late(time) => {
            sleep(time).await;
            client.write_all(answer).await?;
        }
        Answers::Garbage => client.write_all(&[0x16, 0x03, 0x01, 0xff, b'\r', b'\n'].repeat(40)).await?,
        Answers::Half | Answers::Reset => client.write_all(half).await?,
        Answers::CloseAfter => client.write_all(answer).await?,
        Answers::WrongKey => {
            let text = String::from_utf8_lossy(answer).replace("user-", "resu-");
            client.write_all(text.as_bytes()).await?;
        }
        Answers::Mute | Answers::Gone => {
            // The client gives up, or the fault ends.
            let _ = now.changed().await;
        }
        Answers::Drip => {
            for byte in answer {
                client.write_all(&[*byte]).await?;
                if tokio::time::timeout(Duration::from_secs(1), now.changed()).await.is_ok() {
                    break;
                }
            }
        }
        Answers::Huge => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {HUGE}\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await?;
            let piece = [b' '; 64 << 10];
            for _ in 0..HUGE / piece.len() {
                client.write_all(&piece).await?;
            }
        }
        Answers::Interim => loop {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            if tokio::time::timeout(INTERIM_PAUSE, now.changed()).await.is_ok() {
                break;
            }
        },
    }
    Ok(matches!(kind, Answers::Pass | Answers::Late(_) | Answers::WrongKey))
}

/// Makes the close of `stream` a reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
