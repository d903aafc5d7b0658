//! `probe top`: the shards in a terminal, most loaded first.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::Paragraph;
use service::process::StartError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::model::{Model, Reading};
use super::args::TopArgs;
use super::client::Client;
use super::origin::{self, Origin, advice};

mod frame;
mod growth;
mod model;

/// How long a pressed key or a new reading waits at most.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Width of a frame that goes to no terminal.
const PLAIN_WIDTH: u16 = 80;

/// Runs the command; gives its exit code.
#[must_use]
pub fn run(args: &TopArgs) -> ExitCode {
    origin::show(&args.origin, |origin| {
        let model = Model::new(origin.name());
        let plain = args.once || !std::io::stdout().is_terminal();
        if plain {
            once(args, origin, model)?;
        } else {
            live(args, origin, model)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Two readings an interval apart, as text.
fn once(args: &TopArgs, origin: &Origin, mut model: Model) -> Result<(), StartError> {
    let (runtime, client) = origin.client()?;
    let readings = async {
        let first = read(&client).await?;
        tokio::time::sleep(args.interval).await;
        Ok((first, read(&client).await?))
    };
    let (first, second) = runtime
        .block_on(readings)
        .map_err(|problem: String| StartError::Other(advice(&problem, &args.origin)))?;
    model.observe(first);
    model.observe(second);
    // Whoever was to read it may have left.
    let _ = std::io::stdout().lock().write_all(frame::plain(&model, PLAIN_WIDTH).as_bytes());
    Ok(())
}

async fn read(client: &Client) -> Result<Reading, String> {
    // The comparison last: it waits until nothing moves, if that is soon.
    let (shards, latencies) = tokio::try_join!(client.get("/api/shards"), client.get("/api/latency"))?;
    let compare = client.get("/api/compare").await?;
    // An older probe has none.
    let verdicts = client.get("/api/verdict").await.unwrap_or_default();
    Ok(Reading { shards, latencies, compare, verdicts })
}

/// What the reading thread has to say.
enum ReaderEvent {
    Reading(Box<Reading>),
    /// No reading, and why.
    Problem(String),
    /// The process is told to stop.
    Stop,
}

fn live(args: &TopArgs, origin: &Origin, mut model: Model) -> Result<(), StartError> {
    let (runtime, client) = origin.client()?;
    let (sender, news) = channel();
    let (stop, stopped) = oneshot::channel();
    let interval = args.interval;
    let reader = std::thread::Builder::new().name("reader".into());
    let reader = reader.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = follow(&client, interval, &sender) => {}
                () = stop_signal() => drop(sender.send(ReaderEvent::Stop)),
                _ = stopped => {}
            }
        });
    })?;
    let shown = Screen::open().and_then(|mut screen| show(&mut screen.terminal, &mut model, &news));
    // The reader may have ended already.
    let _ = stop.send(());
    drop(reader.join());
    Ok(shown?)
}

async fn follow(client: &Client, interval: Duration, news: &Sender<ReaderEvent>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let one = match read(client).await {
            Ok(reading) => ReaderEvent::Reading(Box::new(reading)),
            Err(problem) => ReaderEvent::Problem(problem),
        };
        if news.send(one).is_err() {
            return;
        }
    }
}

/// Signals other than the keys: those would end the process with the terminal as it is.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut hang_up), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The terminal in raw mode; dropping it, and any panic, gives it back as it was.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> std::io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = ratatui::try_restore();
    }
}

/// Draws until `q`, Ctrl-C or a signal.
fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    news: &Receiver<ReaderEvent>,
) -> std::io::Result<()> {
    loop {
        terminal.draw(|frame| {
            let area = frame.area();
            frame.render_widget(Paragraph::new(frame::lines(model, area.width, area.height)), area);
        })?;
        // Until there is something new to draw.
        loop {
            let mut changed = false;
            while let Ok(one) = news.try_recv() {
                changed = true;
                match one {
                    ReaderEvent::Reading(reading) => model.observe(*reading),
                    ReaderEvent::Problem(problem) => model.lost(problem),
                    ReaderEvent::Stop => return Ok(()),
                }
            }
            if event::poll(POLL_INTERVAL)? {
                match event::read()? {
                    Event::Key(key) if ends(key) => return Ok(()),
                    Event::Resize(..) => changed = true,
                    _ => {}
                }
            }
            if changed {
                break;
            }
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
