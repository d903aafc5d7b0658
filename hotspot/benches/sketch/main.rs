//! Compares counters of keys in bounded memory: time, memory, precision, error.
//!
//! `cargo bench -p hotspot --bench sketch [-- ACCESSES [NAME…]]` prints one Markdown table a stream. docs/experiments
//! has the result of a run. As in a server, keys are newly created and still in the CPU cache when they are counted.
//! Only the counting is timed.

#![expect(clippy::expect_used, reason = "a benchmark that cannot begin has nobody to tell but its caller")]

mod contenders;
mod space_saving;

use cap::Cap;
use contenders::{ALL, Contender, Entry, Key, Line};
use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand::rngs::StdRng;
use rand_distr::Zipf;
use std::alloc::System;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Counts allocated bytes.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Distinct keys of every stream.
const KEYS: u32 = 1_000_000;
/// Keys created at a time: few enough to stay in the CPU cache until they are counted.
const CHUNK: usize = 1_024;

/// A stream of key numbers; 0 is the hottest.
struct Stream {
    name: &'static str,
    numbers: Vec<u32>,
    /// Accesses by key number.
    truth: Vec<u64>,
}

impl Stream {
    fn new(name: &'static str, accesses: usize, mut draw: impl FnMut(&mut StdRng) -> u32) -> Self {
        let mut rng = StdRng::seed_from_u64(39);
        let numbers: Vec<u32> = (0..accesses).map(|_| draw(&mut rng)).collect();
        let mut truth = vec![0; KEYS as usize];
        numbers.iter().for_each(|n| truth[*n as usize] += 1);
        Self { name, numbers, truth }
    }

    fn zipf(name: &'static str, accesses: usize, exponent: f64) -> Self {
        let law = Zipf::new(f64::from(KEYS), exponent).expect("a valid law");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "ranks from 1 to a million"
        )]
        Self::new(name, accesses, |rng| law.sample(rng) as u32 - 1)
    }

    /// The count of the `n`th most frequent key.
    fn nth(&self, n: usize) -> u64 {
        let mut counts = self.truth.clone();
        counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        counts[n - 1]
    }
}

fn main() {
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    let accesses = words.next_if(|word| word.parse::<usize>().is_ok());
    let accesses = accesses.and_then(|word| word.parse().ok()).unwrap_or(5_000_000);
    let wanted: Vec<String> = words.collect();
    println!("{KEYS} keys, {accesses} accesses a stream");
    let uniform = Uniform::new(0, KEYS).expect("a valid range");
    let streams = [
        Stream::new("uniform", accesses, |rng| uniform.sample(rng)),
        Stream::zipf("Zipf 0.99", accesses, 0.99),
        Stream::zipf("Zipf 1.5", accesses, 1.5),
    ];
    for stream in streams {
        println!("\n### {}\n", stream.name);
        println!(
            "| counter | ns | KiB | precision@10 | @100 | mean error | largest error | first, surely | bounds |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|---|");
        for entry in ALL.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
            println!("{}", measure(entry, &stream));
        }
    }
}

fn measure((name, make): &Entry, stream: &Stream) -> String {
    // The fastest of three runs is the least disturbed one.
    let runs: Vec<_> = (0..3).map(|_| run(*make, &stream.numbers)).collect();
    let took = runs.iter().map(|(took, ..)| *took).min().unwrap_or_default();
    let (_, bytes, mut lines) = runs.into_iter().next_back().expect("three runs");
    lines.sort_by(|a, b| b.lower_bound().cmp(&a.lower_bound()).then_with(|| a.key.cmp(&b.key)));
    let truth: HashMap<Key, u64> =
        lines.iter().map(|line| (line.key.clone(), stream.truth[number(&line.key)])).collect();
    let precision = |n: usize| {
        let least = stream.nth(n);
        let right = lines.iter().take(n).filter(|line| truth[&line.key] >= least).count();
        right as f64 / n as f64
    };
    let off: Vec<u64> = lines.iter().take(100).map(|line| line.count.abs_diff(truth[&line.key])).collect();
    let mean = off.iter().sum::<u64>() / off.len().max(1) as u64;
    let largest = off.iter().max().copied().unwrap_or(0);
    let lower_bound = lines.first().map_or(0, Line::lower_bound);
    let bounds = if lines.iter().any(|line| line.error.is_none()) {
        "none given"
    } else if lines.iter().all(|l| l.lower_bound() <= truth[&l.key] && truth[&l.key] <= l.count) {
        "hold"
    } else {
        "BROKEN"
    };
    format!(
        "| {name} | {:.0} | {:.0} | {} | {} | {mean} | {largest} | {lower_bound} | {bounds} |",
        took.as_nanos() as f64 / stream.numbers.len() as f64,
        bytes as f64 / 1024.0,
        precision(10),
        precision(100),
    )
}

/// Returns the time to count all keys, the bytes held at the end, and the result.
fn run(make: fn() -> Box<dyn Contender>, numbers: &[u32]) -> (Duration, usize, Vec<Line>) {
    let mut chunk: Vec<Key> = Vec::with_capacity(CHUNK);
    let before = ALLOCATOR.allocated();
    let mut counter = make();
    let mut took = Duration::ZERO;
    for part in numbers.chunks(CHUNK) {
        chunk.clear();
        chunk.extend(part.iter().map(|n| Key::from(format!("user-{n}"))));
        let start = Instant::now();
        for key in &chunk {
            counter.add(key);
        }
        took += start.elapsed();
    }
    chunk.clear();
    let bytes = ALLOCATOR.allocated().saturating_sub(before);
    (took, bytes, counter.lines())
}

fn number(key: &str) -> usize {
    key.trim_start_matches("user-").parse().expect("made here")
}
