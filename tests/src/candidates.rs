//! Ways to count keys in the kernel, side by side: the same draws through each of the programs of
//! `probe-ebpf/src/candidates`, and its table beside the truth.

use anyhow::Result;
use load::keys::{Distribution, Draws, KeySpace};
use std::path::Path;
use std::time::{Duration, Instant};

pub mod judge;
pub mod programs;
pub mod report;

use judge::Figures;
use programs::{BATCH, Candidate, Counted, Programs};

/// A stream's law.
#[derive(Clone, Copy, Debug)]
struct Law {
    name: &'static str,
    distribution: Distribution,
    /// Whether nine of ten draws are a crawler's, who asks for one key after the other.
    crawled: bool,
}

const LAWS: [Law; 4] = [
    Law { name: "uniform", distribution: Distribution::Uniform, crawled: false },
    Law { name: "Zipf 0.99", distribution: Distribution::Zipf(0.99), crawled: false },
    Law { name: "Zipf 1.5", distribution: Distribution::Zipf(1.5), crawled: false },
    Law {
        name: "Zipf 0.99, nine of ten draws a crawler's",
        distribution: Distribution::Zipf(0.99),
        crawled: true,
    },
];

/// The law of the stream whose hot keys change.
const MOVING: Distribution = Distribution::Zipf(0.99);

/// Draws a second in that stream: time must pass for what ages with it.
const MOVING_RATE: u32 = 50_000;

/// Draws after the change at which the tables are looked at.
const LOOKS: [u64; 6] = [10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The object with the candidates.
    pub object: &'a Path,
    /// Different keys.
    pub keys: usize,
    /// Draws a stream; in the one whose hot keys change as many before the change.
    pub draws: u64,
    /// Where the sequences begin.
    pub seed: u64,
}

/// A candidate after a stream.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub candidate: Candidate,
    /// What a draw costs beyond reading it, median over the calls.
    pub nanoseconds: f64,
    /// What the kernel says that its maps take.
    pub bytes: u64,
    /// Keys in its table.
    pub listed: usize,
    /// Its list beside the truth.
    pub figures: Figures,
}

/// A stream and what each made of it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The law's name.
    pub law: &'static str,
    /// Different keys that came.
    pub distinct: usize,
    /// The last of the hundred hottest came so often.
    pub hundredth: u64,
    /// By candidate.
    pub rows: Vec<Row>,
}

/// One look at the tables after the hot keys have changed.
#[derive(Clone, Debug)]
pub struct Look {
    /// Draws since the change.
    pub draws: u64,
    /// What each table gained since then, beside the truth since then.
    pub figures: Vec<(Candidate, Figures)>,
}

/// All streams.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Those of one law.
    pub streams: Vec<Stream>,
    /// That whose hot keys change.
    pub moving: Vec<Look>,
}

/// Measures all of it; `progress` hears what comes next.
///
/// # Errors
/// When the object cannot be loaded or its tables not be read.
pub fn run(options: &Options<'_>, progress: impl Fn(&str)) -> Result<Outcome> {
    let mut streams = Vec::new();
    for law in LAWS {
        progress(law.name);
        streams.push(stream(options, law)?);
    }
    progress("hot keys that change");
    Ok(Outcome { streams, moving: moving(options)? })
}

fn stream(options: &Options<'_>, law: Law) -> Result<Stream> {
    let space = KeySpace::numbered("", options.keys, law.distribution)?;
    let source = || Source::new(&space, law.crawled, options.seed);
    let mut programs = Programs::load(options.object)?;
    let mut truth = vec![0_u64; options.keys];
    let nothing = feed(source(), options, |batch| {
        batch.iter().for_each(|key| truth[*key as usize] += 1);
        programs.feed_nothing(batch)
    })?;
    let mut rows = Vec::new();
    for candidate in Candidate::ALL {
        let cost = feed(source(), options, |batch| programs.feed(candidate, batch))?;
        let table = programs.table(candidate)?;
        rows.push(Row {
            candidate,
            nanoseconds: cost - nothing,
            bytes: programs.bytes(candidate)?,
            listed: table.len(),
            figures: Figures::of(&table, &truth),
        });
    }
    let distinct = truth.iter().filter(|count| **count > 0).count();
    Ok(Stream { law: law.name, distinct, hundredth: judge::nth_largest(&truth, 100), rows })
}

/// All draws of a stream in batches; gives the median time of a draw in nanoseconds.
fn feed(
    mut source: Source,
    options: &Options<'_>,
    mut batch: impl FnMut(&[u32]) -> Result<Duration>,
) -> Result<f64> {
    let mut left = options.draws;
    let mut times = Vec::new();
    while left > 0 {
        let keys = source.next(left);
        left -= keys.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "a batch has few draws")]
        times.push(batch(&keys)?.as_secs_f64() * 1e9 / keys.len() as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// A sequence of keys.
struct Source {
    draws: Draws,
    /// Keys in the key space, if a crawler walks through it.
    crawled: Option<usize>,
    drawn: usize,
    crawler_at: usize,
}

impl Source {
    fn new(space: &KeySpace, crawled: bool, seed: u64) -> Self {
        let crawled = crawled.then(|| space.keys().len());
        Self { draws: space.draws(seed), crawled, drawn: 0, crawler_at: 0 }
    }

    /// The next keys: a batch, or what is left.
    fn next(&mut self, left: u64) -> Vec<u32> {
        let count = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        (0..count).map(|_| u32::try_from(self.draw()).unwrap_or(u32::MAX)).collect()
    }

    fn draw(&mut self) -> usize {
        self.drawn += 1;
        match self.crawled {
            Some(keys) if !self.drawn.is_multiple_of(10) => {
                self.crawler_at = (self.crawler_at + 1) % keys;
                self.crawler_at
            }
            _ => self.draws.draw(),
        }
    }
}

/// Draws at a steady rate; after the change each key stands for the one half the key space further.
fn moving(options: &Options<'_>) -> Result<Vec<Look>> {
    let space = KeySpace::numbered("", options.keys, MOVING)?;
    let mut programs = Programs::load(options.object)?;
    let mut source = Source::new(&space, false, options.seed);
    let start = Instant::now();
    let mut fed = 0;
    let mut feed = |programs: &mut Programs, count: u64, change: &dyn Fn(&mut u32)| -> Result<Vec<u32>> {
        let mut all = Vec::new();
        while (all.len() as u64) < count {
            let mut keys = source.next(count - all.len() as u64);
            keys.iter_mut().for_each(change);
            fed += keys.len() as u64;
            let due = Duration::from_secs_f64(fed as f64 / f64::from(MOVING_RATE));
            #[expect(clippy::disallowed_methods, reason = "nothing runs here but this, at its rate")]
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            for candidate in Candidate::ALL {
                programs.feed(candidate, &keys)?;
            }
            all.append(&mut keys);
        }
        Ok(all)
    };
    feed(&mut programs, options.draws, &|_| {})?;
    let tables = |programs: &Programs| -> Result<Vec<Vec<Counted>>> {
        Candidate::ALL.iter().map(|candidate| programs.table(*candidate)).collect()
    };
    let before = tables(&programs)?;
    let mut truth = vec![0_u64; options.keys];
    let mut looks = Vec::new();
    let mut so_far = 0;
    let keys = u32::try_from(options.keys)?;
    for look in LOOKS {
        let drawn = feed(&mut programs, look - so_far, &|key| *key = (*key + keys / 2) % keys)?;
        so_far = look;
        drawn.iter().for_each(|key| truth[*key as usize] += 1);
        let gained = tables(&programs)?;
        let gained = gained.iter().zip(&before).map(|(now, then)| judge::since(now, then));
        let figures = gained.map(|table| Figures::of(&table, &truth));
        looks.push(Look { draws: look, figures: Candidate::ALL.into_iter().zip(figures).collect() });
    }
    Ok(looks)
}
