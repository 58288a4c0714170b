//! What the tests against the hardware share.

use pasidon_cosim::Random;
use pasidon_rtl::design::Design;

/// A number from the environment, or else this one.
pub fn given(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(otherwise)
}

/// One of a few.
pub fn pick<T: Copy>(random: &mut Random, few: &[T]) -> T {
    few[random.below(few.len() as u64) as usize]
}

/// A design whose every size is random.
pub fn random_design(random: &mut Random, number: u64) -> Design {
    let between = |random: &mut Random, low: u64, high: u64| low + random.below(high - low + 1);
    let sv48 = random.below(2) == 0;
    let sv57 = sv48 && random.below(2) == 0;
    // Widths of a process_id that need the widest of the directories that there are.
    let (pd8, pd17, pd20, width) = pick(
        random,
        &[
            (true, false, false, 8),
            (true, true, false, 12),
            (false, true, false, 17),
            (false, false, true, 20),
            (true, true, true, 19),
            (false, true, true, 18),
        ],
    );
    let misses = between(random, 1, 6);
    let walkers = between(random, 1, misses.min(3));
    let extended = random.below(4) == 0;
    let text = format!(
        "base = \"tiny\"\nname = \"random{number}\"\n\
         [ports]\ncount = {}\nid_width = 6\n\
         [tlb]\nl1_entries = {}\nl2_sets = {}\nl2_ways = {}\n\
         [walk]\nmiss_entries = {misses}\nwalkers = {walkers}\nddtc_entries = {}\npdtc_entries = {}\n\
         [translation]\nsv48 = {sv48}\nsv57 = {sv57}\nsv39x4 = {extended}\n\
         [msi]\nflat = {extended}\n\
         [address]\npas = 46\ndevice_id_width = {}\nprocess_id_width = {width}\n\
         [process]\npd8 = {pd8}\npd17 = {pd17}\npd20 = {pd20}\n",
        between(random, 1, 4),
        between(random, 1, 9),
        pick(random, &[0, 0, 2, 4, 16]),
        between(random, 1, 4),
        between(random, 1, 4),
        between(random, 1, 4),
        pick(random, &[2, 6, 7, 9, 16, 24]),
    );
    Design::from_toml(&text, "random.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}
