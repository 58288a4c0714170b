//! An answer as a row of numbers: the columns of CSV and Parquet files, of the report's table, and what its pictures show.

use pasidon_experiment::Answer;
use pasidon_experiment::answer::Times;
use pasidon_experiment::counts::CacheCounts;

/// A column's name and value; `None` where the answer does not have it.
pub type Column = (String, Option<f64>);

/// Every number of an answer. The names and their order are the same for all answers.
pub fn columns(answer: &Answer) -> Vec<Column> {
    let counts = &answer.counts;
    let mut row: Vec<Column> = Vec::new();
    let mut put = |name: String, value: f64| row.push((name, Some(value)));
    let whole = |n: u64| n as f64;
    for (name, value) in [
        ("accesses", counts.accesses),
        ("bytes", counts.bytes),
        ("requests", counts.requests),
        ("faults", counts.faults),
        ("merged", counts.merged),
        ("walks", counts.walks),
        ("page_requests", counts.page_requests),
    ] {
        put(name.into(), whole(value));
    }
    for (name, cache) in [("l1", counts.l1), ("l2", counts.l2), ("ddtc", counts.ddtc), ("pdtc", counts.pdtc)]
    {
        let CacheCounts { lookups, hits, fills, evicted, overlapped, invalidated } = cache;
        for (part, value) in [
            ("lookups", lookups),
            ("hits", hits),
            ("fills", fills),
            ("evicted", evicted),
            ("overlapped", overlapped),
            ("invalidated", invalidated),
        ] {
            put(format!("{name}.{part}"), whole(value));
        }
        put(format!("{name}.hit_rate"), cache.hit_rate());
    }
    let reads = &counts.reads;
    for (name, levels) in [
        ("ddt", &reads.ddt[..]),
        ("pdt", &reads.pdt[..]),
        ("first_stage", &reads.first_stage[..]),
        ("second_stage", &reads.second_stage[..]),
    ] {
        for (level, &value) in levels.iter().enumerate() {
            put(format!("reads.{name}.{level}"), whole(value));
        }
    }
    put("reads.other".into(), whole(reads.other));
    put("reads.total".into(), whole(reads.total()));
    row.extend(times(answer));
    row
}

fn times(answer: &Answer) -> Vec<Column> {
    let none = Times::default();
    let times = answer.times.as_ref();
    let told = |value: f64| times.map(|_| value);
    let t = times.unwrap_or(&none);
    let per_cycle = if t.cycles == 0 { 0.0 } else { answer.counts.accesses as f64 / t.cycles as f64 };
    let mut row = vec![
        ("cycles".to_string(), told(t.cycles as f64)),
        ("bare".to_string(), told(t.bare as f64)),
        ("overhead_percent".to_string(), told(t.overhead_percent())),
        ("share_percent".to_string(), told(t.share_percent())),
        ("accesses_per_cycle".to_string(), told(per_cycle)),
    ];
    for (name, value) in [
        ("latency.min", t.latency.min),
        ("latency.p50", t.latency.p50),
        ("latency.p99", t.latency.p99),
        ("latency.max", t.latency.max),
    ] {
        row.push((name.to_string(), told(value as f64)));
    }
    row.extend(t.breakdown.parts().map(|(name, cycles)| (format!("breakdown.{name}"), told(cycles as f64))));
    row
}

/// One number of an answer by its column's name.
pub fn column(answer: &Answer, name: &str) -> Option<f64> {
    columns(answer).into_iter().find(|(column, _)| column == name).and_then(|(_, value)| value)
}
