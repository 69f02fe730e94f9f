// Rust's channels as a peer program: lines "TASK N" in, "SECONDS ANSWER" out. N messages of 8 bytes, the answer is their sum.
//   crossbeam_blocking1024, _64, _1     crossbeam_channel::bounded, one producer and one consumer, pinned to two CPUs
//   std_blocking1024, _64, _1           std::sync::mpsc::sync_channel, the same
//   crossbeam_1x1, _2x2, _4x4           bounded(1024), producers x consumers
//   crossbeam_rtt                       N times there and back through two bounded(1)
use std::io::{BufRead, Write};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

// Pins the calling thread to the which-th of the CPUs that the process may use.
#[cfg(target_os = "linux")]
fn pin(which: usize) {
    type Set = [u64; 16];
    extern "C" {
        fn sched_getaffinity(pid: i32, size: usize, set: *mut Set) -> i32;
        fn sched_setaffinity(pid: i32, size: usize, set: *const Set) -> i32;
    }
    static ALLOWED: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        let mut set: Set = [0; 16];
        unsafe { sched_getaffinity(0, std::mem::size_of::<Set>(), &mut set) };
        (0..1024).filter(|cpu| set[cpu / 64] >> (cpu % 64) & 1 == 1).collect()
    });
    if allowed.len() < 2 {
        return;
    }
    let cpu = allowed[which % allowed.len()];
    let mut one: Set = [0; 16];
    one[cpu / 64] = 1 << (cpu % 64);
    unsafe { sched_setaffinity(0, std::mem::size_of::<Set>(), &one) };
}
#[cfg(not(target_os = "linux"))]
fn pin(_which: usize) {}

fn two_threads(produce: impl FnOnce() + Send + 'static, consume: impl FnOnce() -> u64) -> (f64, f64) {
    pin(0);
    let together = Arc::new(Barrier::new(2));
    let other = together.clone();
    let producer = thread::spawn(move || {
        pin(1);
        other.wait();
        produce();
    });
    let start = Instant::now();
    together.wait();
    let sum = consume();
    let seconds = start.elapsed().as_secs_f64();
    producer.join().unwrap();
    (seconds, sum as f64)
}

fn crossbeam_blocking(n: u64, capacity: usize) -> (f64, f64) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    two_threads(
        move || (1..=n).for_each(|i| sender.send(i).unwrap()),
        move || receiver.iter().sum(),
    )
}

fn std_blocking(n: u64, capacity: usize) -> (f64, f64) {
    let (sender, receiver) = std::sync::mpsc::sync_channel(capacity);
    two_threads(
        move || (1..=n).for_each(|i| sender.send(i).unwrap()),
        move || receiver.iter().sum(),
    )
}

fn crossbeam_pairs(n: u64, pairs: u64) -> (f64, f64) {
    let (sender, receiver) = crossbeam_channel::bounded::<u64>(1024);
    let together = Arc::new(Barrier::new(2 * pairs as usize + 1));
    let mut producers = Vec::new();
    let mut consumers = Vec::new();
    for p in 0..pairs {
        let (sender, ready) = (sender.clone(), together.clone());
        producers.push(thread::spawn(move || {
            ready.wait();
            (p + 1..=n).step_by(pairs as usize).for_each(|i| sender.send(i).unwrap());
        }));
        let (receiver, ready) = (receiver.clone(), together.clone());
        consumers.push(thread::spawn(move || {
            ready.wait();
            receiver.iter().sum::<u64>()
        }));
    }
    drop(sender);
    let start = Instant::now(); // before the last one arrives: nobody has started
    together.wait();
    producers.into_iter().for_each(|p| p.join().unwrap());
    let sum: u64 = consumers.into_iter().map(|c| c.join().unwrap()).sum();
    (start.elapsed().as_secs_f64(), sum as f64)
}

fn crossbeam_rtt(n: u64) -> (f64, f64) {
    let (there, arrives) = crossbeam_channel::bounded::<u64>(1);
    let (answers, back) = crossbeam_channel::bounded::<u64>(1);
    two_threads(
        move || arrives.iter().for_each(|value| answers.send(value).unwrap()),
        move || {
            (1..=n)
                .map(|i| {
                    there.send(i).unwrap();
                    back.recv().unwrap()
                })
                .sum()
        },
    )
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or("");
        let n: u64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        let result = match name {
            "crossbeam_blocking1024" => Some(crossbeam_blocking(n, 1024)),
            "crossbeam_blocking64" => Some(crossbeam_blocking(n, 64)),
            "crossbeam_blocking1" => Some(crossbeam_blocking(n, 1)),
            "std_blocking1024" => Some(std_blocking(n, 1024)),
            "std_blocking64" => Some(std_blocking(n, 64)),
            "std_blocking1" => Some(std_blocking(n, 1)),
            "crossbeam_1x1" => Some(crossbeam_pairs(n, 1)),
            "crossbeam_2x2" => Some(crossbeam_pairs(n, 2)),
            "crossbeam_4x4" => Some(crossbeam_pairs(n, 4)),
            "crossbeam_rtt" => Some(crossbeam_rtt(n)),
            _ => None,
        };
        match result {
            Some((seconds, answer)) => println!("{seconds:.9} {answer:.0}"),
            None => println!("unknown task {name}"),
        }
        std::io::stdout().flush().unwrap();
    }
}
