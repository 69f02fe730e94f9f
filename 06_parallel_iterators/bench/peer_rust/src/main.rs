//! rayon's side of the pipelines. Reads lines "TASK N", runs the task once, answers "SECONDS ANSWER".

use rayon::prelude::*;
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

const ABSENT: i64 = 1 << 30;

struct Arrays {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    out: Vec<f64>,
    k: Vec<i64>,
    scanned: Vec<i64>,
}

/// The same numbers as peer_data.hpp makes: splitmix64.
fn mixed(i: usize) -> u64 {
    let mut x = (i as u64 + 1).wrapping_mul(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d049bb133111eb);
    (x ^ (x >> 31)) % 1000003
}

fn arrays(n: usize) -> Arrays {
    let reals = |shift: usize| (0..n).map(|i| mixed(i + shift) as f64 / 10000.0).collect::<Vec<f64>>();
    Arrays {
        a: reals(0),
        b: reals(1),
        c: reals(2),
        out: vec![0.0; n],
        k: (0..n).map(|i| mixed(i) as i64 - 500000).collect(),
        scanned: vec![0; n],
    }
}

fn timed<F: FnOnce() -> R, R>(body: F) -> (f64, R) {
    let start = Instant::now();
    let result = body();
    (start.elapsed().as_secs_f64(), result)
}

fn run(d: &mut Arrays, task: &str) -> Option<(f64, f64)> {
    let Arrays { a, b, c, out, k, scanned } = d;
    match task {
        "expression" => {
            let (seconds, ()) = timed(|| {
                out.par_iter_mut()
                    .zip(a.par_iter().zip(b.par_iter()).zip(c.par_iter()))
                    .for_each(|(out, ((a, b), c))| *out = a * b + c * 2.0 - 1.0)
            });
            Some((seconds, out.iter().step_by(997).sum()))
        }
        "degree_days" => Some(timed(|| {
            a.par_iter().map(|f| (f - 32.0) * (5.0 / 9.0)).filter(|c| *c > 18.0).map(|c| c - 18.0).sum::<f64>()
        })),
        "even_squares" => {
            let (seconds, total) = timed(|| k.par_iter().filter(|v| *v % 2 == 0).map(|v| v * v).sum::<i64>());
            Some((seconds, total as f64))
        }
        "collect" => Some(timed(|| {
            let kept: Vec<i64> = k.par_iter().filter(|v| *v % 2 == 0).map(|v| v * v).collect();
            kept.len() as f64 + kept[kept.len() / 2] as f64
        })),
        // rayon has no scan: two passes over one chunk per thread, written by hand.
        "scan" => {
            let (seconds, ()) = timed(|| {
                let chunk = k.len().div_ceil(rayon::current_num_threads());
                let totals: Vec<i64> = k.par_chunks(chunk).map(|part| part.iter().sum()).collect();
                scanned.par_chunks_mut(chunk).zip(k.par_chunks(chunk)).enumerate().for_each(|(i, (out, part))| {
                    let mut sum: i64 = totals[..i].iter().sum();
                    for (out, v) in out.iter_mut().zip(part) {
                        sum += v;
                        *out = sum;
                    }
                });
            });
            Some((seconds, scanned.iter().step_by(997).map(|v| *v as f64).sum()))
        }
        "find" => {
            let (seconds, found) = timed(|| k.par_iter().position_first(|v| *v == ABSENT));
            Some((seconds, if found.is_some() { 1.0 } else { 0.0 }))
        }
        _ => None,
    }
}

fn main() {
    let threads = std::env::var("TENFOLD_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let mut made: HashMap<usize, Arrays> = HashMap::new();
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let task = words.next().unwrap_or("");
        let n: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let data = made.entry(n).or_insert_with(|| arrays(n));
        match run(data, task) {
            Some((seconds, answer)) => writeln!(output, "{seconds:.9} {answer:.17e}").unwrap(),
            None => writeln!(output, "unknown task {task}").unwrap(),
        }
        output.flush().unwrap();
    }
}
