//! Tests `probe top` in a pipe and in a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::harness::{TIMEOUT, privileges};
use crate::http::{counters, serve};
use crate::process::{Running, command, error_line, exchange, own_programs, run};
use crate::shard::Shard;

/// The cells of a row of the frame.
fn row(frame: &str, shard: &str) -> Vec<String> {
    let row = frame.lines().find(|line| line.split_whitespace().next() == Some(shard));
    assert!(row.is_some(), "{frame}");
    row.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn a_pipe_gets_one_frame_of_text() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    for more in [&["--once"][..], &[]] {
        let output = run(&[&["top", "--url", &served.base, "--interval", "0.1"], more].concat());
        let frame = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{frame}");
        // The interval is at least the requested one. How much longer depends on the machine.
        let head = frame.lines().next().unwrap_or_default();
        let over = head.strip_prefix(&format!("probe top   {}   over ", served.base));
        let seconds = over.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 0.1), "{frame}");
        assert_eq!(row(&frame, "0"), ["0", "0", "0", "0", "-", "-", "-", "-", "6", "0", "agrees"], "{frame}");
        assert!(!frame.contains('\u{1b}'), "{frame}");
    }
}

#[test]
fn a_frame_in_a_pipe_needs_a_probe() {
    let output = run(&["top", "--once", "--url", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("no answer from the probe at http://127.0.0.1:9: no connection"));
}

#[test]
fn both_witnesses_rates_and_latencies_are_shown_of_a_running_probe_and_of_its_own() {
    if !privileges("both_witnesses_rates_and_latencies_are_shown_of_a_running_probe_and_of_its_own") {
        return;
    }
    let shard = Shard::start(0);
    let probe = Running::start(&shard);
    for origin in [["--url", &probe.base], ["--shard-urls", &shard.url()]] {
        let arguments = [&["top", "--once", "--interval", "0.5"][..], &origin].concat().join(" ");
        let top = std::thread::spawn(move || run(&arguments.split(' ').collect::<Vec<_>>()));
        while !top.is_finished() {
            exchange(&shard, 10);
        }
        let output = top.join().unwrap();
        let frame = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{frame}{}", String::from_utf8_lossy(&output.stderr));
        let row = row(&frame, "0");
        for (column, what) in
            [(1, "kernel's rate"), (2, "shard's rate"), (4, "kernel's p50"), (6, "kernel's p99")]
        {
            assert!(row[column].parse::<f64>().unwrap() > 0.0, "{what}: {frame}");
        }
        // The stand-in reports these latencies for all its requests.
        assert_eq!((row[5].as_str(), row[7].as_str()), ("2.00", "2.00"), "{frame}");
        // The kernel's baseline may not be final yet.
        assert!(["agrees", "none"].contains(&row[10].as_str()), "{frame}");
    }
}

/// A terminal of 80 × 24: the user's side and the program's side. No child process of any test inherits the user's
/// side. Otherwise closing it would not hang up the terminal.
fn terminal() -> (File, OwnedFd) {
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let person = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let fd = person.as_raw_fd();
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open, and the size outlives the call. Nothing else owns the descriptor that
    // the last call returns.
    #[expect(unsafe_code, reason = "the standard library has no terminals")]
    let program = unsafe {
        use std::os::fd::FromRawFd;
        assert_eq!(libc::unlockpt(fd), 0);
        assert_eq!(libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size), 0);
        let program = libc::ioctl(fd, libc::TIOCGPTPEER, flags);
        assert!(program >= 0);
        OwnedFd::from_raw_fd(program)
    };
    (person, program)
}

fn mode(terminal: &OwnedFd) -> String {
    let output = Command::new("stty").arg("-a").stdin(terminal.try_clone().unwrap()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A child process that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `probe top` in a terminal of its own.
struct Live {
    child: Killed,
    person: File,
    program: OwnedFd,
    before: String,
    seen: String,
}

impl Live {
    fn start(arguments: &[&str]) -> Self {
        let (person, program) = terminal();
        let before = mode(&program);
        let mut top = command(&[&["top", "--interval", "0.1"], arguments].concat());
        top.env("TERM", "xterm").stdin(program.try_clone().unwrap()).stdout(program.try_clone().unwrap());
        let child = Killed(top.stderr(program.try_clone().unwrap()).spawn().unwrap());
        Self { child, person, program, before, seen: String::new() }
    }

    /// Waits until a word is drawn. Escape sequences occur between words, never within one.
    fn until(&mut self, word: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.seen.contains(word) {
            self.look();
            assert!(Instant::now() < deadline, "{word:?} is not in {:?}", self.seen);
        }
    }

    /// Reads the output of the next 100 ms, if there is any.
    fn look(&mut self) {
        let mut wanted = libc::pollfd { fd: self.person.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the call takes one structure, which the kernel updates. The descriptor is open.
        #[expect(unsafe_code, reason = "the standard library does not wait with a limit for a terminal")]
        let ready = unsafe { libc::poll(&raw mut wanted, 1, 100) };
        if ready > 0 {
            let mut bytes = [0; 4_096];
            let length = self.person.read(&mut bytes).unwrap();
            self.seen += &String::from_utf8_lossy(&bytes[..length]);
        }
    }

    fn press(&mut self, key: &str) {
        self.person.write_all(key.as_bytes()).unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits until it ends. The terminal must be restored.
    fn ended(mut self) {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            // Keep reading its output, because it could not end otherwise.
            self.look();
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen);
        };
        assert_eq!(status.code(), Some(0), "{:?}", self.seen);
        assert_eq!(mode(&self.program), self.before, "{:?}", self.seen);
        drop(self.program);
        // The last writer is closed, so this reads the rest and then returns an error.
        let mut rest = Vec::new();
        let _ = self.person.read_to_end(&mut rest);
        let all = self.seen + &String::from_utf8_lossy(&rest);
        let last = |sequence| all.rfind(sequence);
        assert!(last("\u{1b}[?1049l") > last("\u{1b}[?1049h"), "the other screen is left: {all:?}");
    }
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    for end in ["q", "\u{3}", "TERM", "HUP"] {
        let mut top = Live::start(&["--url", &served.base]);
        top.until("agrees");
        assert_ne!(mode(&top.program), top.before);
        if matches!(end, "TERM" | "HUP") {
            top.signal(end);
        } else {
            top.press(end);
        }
        top.ended();
    }
}

#[test]
fn it_ends_within_a_second_of_a_hang_up_even_without_a_signal() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    // The second time with unread input: half an escape sequence.
    for pressed in ["", "\u{1b}[1"] {
        let mut top = Live::start(&["--url", &served.base]);
        top.until("agrees");
        top.press(pressed);
        let Live { child, person, program, .. } = top;
        drop((person, program));
        ends_within_a_second(child);
    }
}

#[test]
fn a_terminal_that_takes_nothing_does_not_hold_it_up() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let mut top = Live::start(&["--url", &served.base]);
    top.until("agrees");
    // SAFETY: the descriptor is open.
    #[expect(unsafe_code, reason = "the standard library has no terminals")]
    let stopped = unsafe { libc::tcflow(top.program.as_raw_fd(), libc::TCOOFF) };
    assert_eq!(stopped, 0);
    // Wait until a write blocks.
    std::thread::park_timeout(Duration::from_millis(300));
    top.signal("TERM");
    ends_within_a_second(top.child);
    assert_eq!(mode(&top.program), top.before);
}

fn ends_within_a_second(mut child: Killed) {
    let since = Instant::now();
    while child.0.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(1), "it does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_probe_that_goes_is_named_and_asked_again() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let mut top = Live::start(&["--url", &served.base]);
    top.until("agrees");
    drop(served);
    top.until("trying");
    top.press("q");
    top.ended();
}

#[test]
fn its_own_probe_goes_with_it() {
    if !privileges("its_own_probe_goes_with_it") {
        return;
    }
    let shard = Shard::start(0);
    let mut top = Live::start(&["--shard-urls", &shard.url()]);
    top.until("attached");
    top.until("agrees");
    let programs = own_programs(top.child.0.id());
    assert!(!programs.is_empty());
    top.press("q");
    top.ended();
    let deadline = Instant::now() + TIMEOUT;
    while aya::programs::loaded_programs().flatten().any(|program| programs.contains(&program.id())) {
        assert!(Instant::now() < deadline, "programs {programs:?} are still loaded");
        std::thread::yield_now();
    }
}
