//! rayon's side of the native table. Reads lines "TASK N", runs the task once, answers "SECONDS ANSWER".

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

fn fib(n: i64) -> i64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

/// One count per thread, on lines of their own. Each has one writer: a load and a store, no read-modify-write.
#[repr(align(128))]
#[derive(Default)]
struct OwnLine(AtomicI64);

fn add(counts: &[OwnLine]) {
    let mine = &counts[rayon::current_thread_index().unwrap()].0;
    mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safe: the pointer is to a local that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Seconds and answer.
fn run(pool: &rayon::ThreadPool, threads: usize, task: &str, n: i64) -> Option<(f64, f64)> {
    let counts: Vec<OwnLine> = (0..threads).map(|_| OwnLine::default()).collect();
    let sum = || counts.iter().map(|c| c.0.load(Ordering::Relaxed)).sum::<i64>() as f64;
    let start = Instant::now();
    let answer = match task {
        "fib" => pool.install(|| fib(n)) as f64,
        "empty" => {
            // Opened by one of the two workers, as in the other programs.
            pool.install(|| {
                for _ in 0..n {
                    rayon::broadcast(|_| add(&counts));
                }
            });
            let both = counts.iter().all(|c| c.0.load(Ordering::Relaxed) == n);
            if both { sum() } else { -1.0 }
        }
        "flat" => {
            pool.install(|| {
                rayon::scope(|scope| {
                    for _ in 0..n {
                        scope.spawn(|_| add(&counts));
                    }
                })
            });
            sum()
        }
        "idle" => {
            pool.install(|| fib(20));
            std::thread::sleep(Duration::from_millis(5));
            let before = cpu_seconds();
            std::thread::sleep(Duration::from_millis(200));
            return Some((cpu_seconds() - before, f64::NAN));
        }
        _ => return None,
    };
    Some((start.elapsed().as_secs_f64(), answer))
}

fn main() {
    let threads = std::env::var("TENFOLD_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let task = words.next().unwrap_or("");
        let n = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        match run(&pool, threads, task, n) {
            Some((seconds, answer)) => println!("{seconds:e} {answer}"),
            None => println!("unknown task {task}"),
        }
        std::io::stdout().flush().unwrap();
    }
}
