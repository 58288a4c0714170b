//! The report in a real browser, without a screen: light and dark, on a wide and on a narrow window. `browser.js` uses it there as
//! a reader does.

use crate::{SWEEP, areas, folder, made_up, options, verilog_of_today};
use pasidon_experiment::{Answer, Experiment};
use pasidon_study::report::{Report, html};
use pasidon_study::sweep::file::Sweep;
use pasidon_study::sweep::merge::collect;
use pasidon_study::sweep::run::run;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

/// A browser of Chromium's family; `CHROME` names another.
fn browser() -> String {
    let known = ["chromium", "chromium-browser", "google-chrome"].map(String::from);
    let there =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    std::env::var("CHROME").into_iter().chain(known).find(there).expect(
        "no Chromium or Chrome found: `scripts/setup.sh browser` installs one, or CHROME=PROGRAM names it",
    )
}

/// A page with labels of every length, a failed point, and a picture of each kind.
fn page(out: &Path) -> String {
    let text = SWEEP.replace("two processes", "two processes, and a label that is longer than its room");
    let sweep = Sweep::parse(&text, Path::new("l2.toml")).unwrap();
    let answer = |experiment: &Experiment| {
        let sets = experiment.design["tlb"]["l2_sets"].as_u64();
        if sets == Some(64) && experiment.machine.tables.latency == 100 {
            return Err("no <such> thing".to_string());
        }
        let mut answer = made_up(experiment);
        // Many steps, as real ones have.
        let histogram = answer.times.iter_mut().map(|times| &mut times.latency.histogram);
        histogram
            .for_each(|steps| *steps = (2..400).step_by(7).map(|cycles| (cycles, 1000 / cycles)).collect());
        Ok::<Answer, String>(answer)
    };
    run(&sweep, out, &options(), &answer, &AtomicBool::new(false)).unwrap();
    let areas = areas(&sweep, verilog_of_today);
    html::page(&Report::new(&sweep, &collect(&sweep, out).unwrap(), &areas))
}

/// A browser's window cannot be as narrow as a telephone's: the report is a frame of that width in this page.
const AROUND: &str = r#"<!DOCTYPE html><meta name="color-scheme" content="light dark">
<iframe src="report.html" width="WIDTH" height="900" style="border: 0"></iframe>
<script>
addEventListener('message', event => {
  const verdict = document.createElement('pre');
  verdict.id = 'verdict';
  verdict.textContent = event.data;
  document.body.append(verdict);
});
</script>"#;

/// What `browser.js` says of `page` in a window of this width.
fn verdict(browser: &str, out: &Path, page: &str, dark: bool, width: u32) -> serde_json::Value {
    let script = format!(
        "<head><script>{{ const DARK = {dark}, WIDTH = {width}, asked = [];
        addEventListener('securitypolicyviolation', event => asked.push(event.blockedURI));
        addEventListener('load', () => {{ {} }}); }}</script>",
        include_str!("browser.js")
    );
    let page = page.replacen("<head>", &script, 1);
    let out = out.join(format!("{width}-{dark}"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("report.html"), page).unwrap();
    std::fs::write(out.join("around.html"), AROUND.replace("WIDTH", &width.to_string())).unwrap();
    let output = Command::new("timeout")
        .args([
            "60",
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", out.join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .args(["--window-size=1500,1000", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("file://{}", out.join("around.html").display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let told = dom.split("<pre id=\"verdict\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let Some(told) = told else {
        panic!("the script in the page did not end: {}", String::from_utf8_lossy(&output.stderr))
    };
    let text = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_report_can_be_read_and_used_in_every_theme_and_width() {
    let browser = browser();
    let out = folder("browser");
    let page = page(&out);
    for (dark, width) in [(false, 1400), (true, 1400), (false, 390), (true, 390)] {
        let told = verdict(&browser, &out, &page, dark, width);
        let place = format!("{} at {width} pixels", if dark { "dark" } else { "light" });
        assert_eq!(told["wrong"], serde_json::json!([]), "{place}");
        let [texts, heads, rows] = ["texts", "heads", "rows"].map(|key| told[key].as_u64().unwrap());
        assert!(texts > 100 && heads > 50 && rows == 16, "{place}: {told}");
    }
    std::fs::remove_dir_all(out).unwrap();
}
