//! Implements `probe top`: the shards in a terminal, most loaded first.

use std::io::{IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::disable_raw_mode;
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
mod hang_up;
mod model;

/// Delay until a hang-up is detected after a failed write.
const HANG_UP_DELAY: Duration = Duration::from_millis(50);

/// How long restoring the terminal may take.
const RESTORE_TIMEOUT: Duration = Duration::from_millis(300);

/// Width of a frame that is not written to a terminal.
const PLAIN_WIDTH: u16 = 80;

/// Runs the command. Returns its exit code.
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

/// Prints the growth between two readings as text.
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
    // The reader of the output may have closed it.
    let _ = std::io::stdout().lock().write_all(frame::plain(&model, PLAIN_WIDTH).as_bytes());
    Ok(())
}

async fn read(client: &Client) -> Result<Reading, String> {
    // Read the comparison last, because it may wait until the counts stop changing.
    let (shards, latencies) = tokio::try_join!(client.get("/api/shards"), client.get("/api/latency"))?;
    let compare = client.get("/api/compare").await?;
    // An older probe has no verdicts.
    let verdicts = client.get("/api/verdict").await.unwrap_or_default();
    Ok(Reading { shards, latencies, compare, verdicts })
}

enum ScreenEvent {
    Reading(Box<Reading>),
    /// Why a reading failed.
    Problem(String),
    Input(std::io::Result<Event>),
    /// The process is stopping.
    Stop,
}

/// Runs the live view. Drawing and reading keys have a thread each, because a stopped or closed terminal blocks both
/// forever.
fn live(args: &TopArgs, origin: &Origin, model: Model) -> Result<(), StartError> {
    let (runtime, client) = origin.client()?;
    let (events, received) = channel();
    let (ended, end) = oneshot::channel();
    let input = events.clone();
    let screen = move || drop(ended.send(draw(model, input, &received)));
    drop(std::thread::Builder::new().name("screen".into()).spawn(screen)?);
    let shown = runtime.block_on(until_the_end(&client, args.interval, &events, end));
    // A name lookup may still be running.
    runtime.shutdown_background();
    Ok(shown?)
}

/// Reads the probe until the screen ends, a signal arrives, or the terminal hangs up.
async fn until_the_end(
    client: &Client,
    interval: Duration,
    events: &Sender<ScreenEvent>,
    mut end: oneshot::Receiver<std::io::Result<()>>,
) -> std::io::Result<()> {
    let mut hung_up = std::pin::pin!(hang_up::hung_up());
    tokio::select! {
        shown = &mut end => {
            let shown = shown.unwrap_or_else(|_| Err(std::io::Error::other("the screen failed")));
            // Drawing may fail before the hang-up is detected here.
            let gone = shown.is_err() && tokio::time::timeout(HANG_UP_DELAY, hung_up).await.is_ok();
            return if gone { Ok(()) } else { shown };
        }
        () = follow(client, interval, events) => {}
        () = stop_signal() => {}
        () = &mut hung_up => {}
    }
    // Sending fails once the screen has ended.
    let _ = events.send(ScreenEvent::Stop);
    if tokio::time::timeout(RESTORE_TIMEOUT, end).await.is_err() {
        // The screen is still blocked in a write to the terminal.
        let _ = disable_raw_mode();
    }
    Ok(())
}

async fn follow(client: &Client, interval: Duration, events: &Sender<ScreenEvent>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let one = match read(client).await {
            Ok(reading) => ScreenEvent::Reading(Box::new(reading)),
            Err(problem) => ScreenEvent::Problem(problem),
        };
        if events.send(one).is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits for a signal to stop. Without a handler a signal would end the process without restoring the terminal.
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

/// The terminal in raw mode. Dropping it or panicking restores the terminal.
struct Screen {
    /// Not dropped automatically: its `drop` writes errors to a terminal that may be closed, and panics if that fails.
    terminal: ManuallyDrop<DefaultTerminal>,
}

impl Screen {
    fn open() -> std::io::Result<Self> {
        Ok(Self { terminal: ManuallyDrop::new(ratatui::try_init()?) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Errors of a closed terminal cannot be handled.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Opens the screen and draws until `q`, Ctrl-C or a stop.
fn draw(mut model: Model, input: Sender<ScreenEvent>, events: &Receiver<ScreenEvent>) -> std::io::Result<()> {
    let mut screen = Screen::open()?;
    drop(std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(&input))?);
    loop {
        screen.terminal.draw(|frame| {
            let area = frame.area();
            frame.render_widget(Paragraph::new(frame::lines(&model, area.width, area.height)), area);
        })?;
        // Wait for the first event, then handle all pending events before drawing.
        let mut changed = false;
        while let Some(event) = if changed { events.try_recv().ok() } else { events.recv().ok() } {
            match event {
                ScreenEvent::Reading(reading) => model.observe(*reading),
                ScreenEvent::Problem(problem) => model.lost(problem),
                ScreenEvent::Input(Ok(Event::Key(key))) if ends(key) => return Ok(()),
                ScreenEvent::Input(Ok(Event::Resize(..))) => {}
                ScreenEvent::Input(Ok(_)) => continue,
                ScreenEvent::Input(Err(error)) => return Err(error),
                ScreenEvent::Stop => return Ok(()),
            }
            changed = true;
        }
        if !changed {
            return Ok(());
        }
    }
}

/// Forwards key presses. `event::read` never returns after a hang-up, so the process does not wait for this thread.
fn read_keys(input: &Sender<ScreenEvent>) {
    loop {
        let event = event::read();
        let last = match &event {
            Ok(Event::Key(key)) => ends(*key),
            Ok(_) => false,
            Err(_) => true,
        };
        if input.send(ScreenEvent::Input(event)).is_err() || last {
            return;
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
