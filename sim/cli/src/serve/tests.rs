//! The protocol, line by line, on the golden model and on the hardware.

use super::*;
use pasidon_spec::command::{Command, Store};
use pasidon_spec::message::InvalidationRequest;

fn session(design: &str, kind: EngineKind) -> Session {
    let design = Design::shipped(design).unwrap();
    Session::new(&design, &Cache::in_workspace().quiet(), kind, 5).unwrap()
}

fn ask(session: &mut Session, line: Value) -> Value {
    let answer: Value = serde_json::from_str(&session.answer(line.to_string().as_bytes())).unwrap();
    assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{answer}");
    answer
}

fn good(session: &mut Session, line: Value) -> Value {
    let answer = ask(session, line.clone());
    assert!(answer.get("error").is_none(), "{line}: {answer}");
    answer
}

/// The error of an answer, which must be of this kind, name this field, and say these words.
fn bad(session: &mut Session, line: Value, kind: &str, field: Option<&str>, words: &[&str]) {
    let answer = ask(session, line.clone());
    let error = answer.get("error").unwrap_or_else(|| panic!("{line}: {answer}"));
    assert_eq!((error["kind"].as_str(), error["field"].as_str()), (Some(kind), field), "{line}: {answer}");
    let message = error["message"].as_str().unwrap();
    for word in words {
        assert!(message.contains(word), "{line}: {word} is not in {message}");
    }
}

/// Device 5, one-level directory at 64 KiB, process_id 0 in Sv39 with one 4 KiB page: 0x1000 is at 0x8000_5000.
fn tables(session: &mut Session) {
    let write = |session: &mut Session, address: u64, words: &[u64]| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:#x}")).collect();
        good(session, json!({ "op": "write_memory", "address": address, "words": words }));
    };
    // Extended format if the design has MSI translation: 64 bytes per device.
    let info = good(session, json!({ "op": "info" }));
    let capabilities = info["result"]["capabilities"].as_str().unwrap();
    let capabilities = u64::from_str_radix(&capabilities[2..], 16).unwrap();
    let stride = if capabilities >> 22 & 1 != 0 { 64 } else { 32 };
    // tc.V (and EN_ATS, EN_PRI with the golden model), iohgatp Bare, ta, fsc Sv39.
    let tc = if capabilities >> 25 & 1 != 0 { 7 } else { 1 };
    write(session, 0x1_0000 + 5 * stride, &[tc, 0, 0, 8 << 60 | 0x20]);
    write(session, 0x2_0000, &[0x21 << 10 | 1]);
    write(session, 0x2_1000, &[0x22 << 10 | 1]);
    write(session, 0x2_2008, &[0x80005 << 10 | 0xdf]);
    // Mode 1LVL.
    good(session, json!({ "op": "write_register", "register": "ddtp", "value": 0x10 << 10 | 2 }));
    good(session, json!({ "op": "settle" }));
}

fn translation(session: &mut Session) {
    let request = json!({ "op": "translate", "device_id": 5, "iova": "0x1abc", "id": "first" });
    let answer = good(session, request);
    assert_eq!(answer["id"], "first");
    let result = &answer["result"];
    assert_eq!((result["status"].as_str(), result["spa"].as_str()), (Some("success"), Some("0x80005abc")));
    assert_eq!((result["read"].as_bool(), result["page_shift"].as_u64()), (Some(true), Some(12)));
    let answer = good(session, json!({ "op": "translate", "device_id": 5, "iova": 0x2000, "write": true }));
    assert_eq!(
        (answer["result"]["status"].as_str(), answer["result"]["cause"].as_u64()),
        (Some("fault"), Some(15))
    );
    // Many at once: answers in the order of the requests.
    let many: Vec<Value> = (0..20)
        .map(|i| json!({ "device_id": 5, "iova": 0x1000 + 8 * i + (i % 3) * 0x1000, "port": 0 }))
        .collect();
    let answer = good(session, json!({ "op": "translate_many", "requests": many }));
    let responses = answer["result"]["responses"].as_array().unwrap();
    assert_eq!(responses.len(), 20);
    for (i, response) in responses.iter().enumerate() {
        if i % 3 == 0 {
            assert_eq!(response["spa"].as_str().unwrap(), format!("{:#x}", 0x8000_5000u64 + 8 * i as u64));
        } else {
            assert_eq!(response["cause"], 13);
        }
    }
    // Under way: tickets now, answers as events.
    let answer = good(session, json!({ "op": "submit", "requests": many[..4] }));
    let tickets: Vec<u64> =
        answer["result"]["tickets"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect();
    assert_eq!(tickets.len(), 4);
    let mut events = answer["events"].as_array().cloned().unwrap_or_default();
    let answer = good(session, json!({ "op": "settle" }));
    events.extend(answer["events"].as_array().cloned().unwrap_or_default());
    let mut seen: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "response")
        .map(|event| event["ticket"].as_u64().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, tickets);
}

#[test]
fn requests_are_answered_by_the_golden_model() {
    let mut session = session("tiny", EngineKind::Model);
    tables(&mut session);
    translation(&mut session);
}

#[test]
fn requests_are_answered_by_the_hardware_and_in_lockstep() {
    for kind in [EngineKind::Rtl, EngineKind::Both] {
        let mut session = session("tiny", kind);
        tables(&mut session);
        translation(&mut session);
        // Page requests and completions need what this hardware does not have.
        for line in [
            json!({ "op": "page_request", "device_id": 5, "address": 4096, "read": true, "last": true }),
            json!({ "op": "invalidation_completion", "rid": 5, "itags": [0] }),
        ] {
            let what =
                if line["op"] == "page_request" { "a page request" } else { "an invalidation completion" };
            let words = [what, "needs ATS", "`ats.ats` is false", "such as full", "--engine model"];
            bad(&mut session, line, "unsupported", None, &words);
        }
    }
}

#[test]
fn lockstep_tells_both_values() {
    let mut session = session("tiny", EngineKind::Both);
    tables(&mut session);
    // Nothing has been asked for yet, so that the hardware remembers nothing: what only its memory holds is a difference.
    session.machine.rtl_memory().store(0x2_2008, 0x80006 << 10 | 0xdf);
    let answer = ask(&mut session, json!({ "op": "translate", "device_id": 5, "iova": 0x1000 }));
    let error = &answer["error"];
    assert_eq!(error["kind"], "mismatch", "{answer}");
    let field = &error["mismatch"]["fields"][0];
    assert_eq!((field["rtl"].as_str(), field["golden"].as_str()), (Some("0x80006000"), Some("0x80005000")));
}

#[test]
fn devices_are_told_and_answer() {
    let mut session = session("default", EngineKind::Model);
    tables(&mut session);
    let s = &mut session;
    // Command queue of 4 entries at 0x30000, page-request queue of 4 at 0x40000.
    good(s, json!({ "op": "write_register", "register": "cqb", "value": 0x30 << 10 | 1 }));
    good(s, json!({ "op": "write_register", "register": "pqb", "value": 0x40 << 10 | 1 }));
    good(s, json!({ "op": "write_register", "register": "cqcsr", "value": 1 }));
    good(s, json!({ "op": "write_register", "register": "pqcsr", "value": 3 }));
    let ats = json!({ "op": "translate", "device_id": 5, "iova": 0x1000, "type": "translation_request" });
    let answer = good(s, ats);
    assert!(answer["result"]["ats"].is_object(), "{answer}");
    // ATS.INVAL of all addresses for device 5, and a fence that waits for the answer.
    let body = InvalidationRequest { global: false, page: u64::MAX >> 13, napot: true };
    let commands = [
        Command::AtsInval { pid: None, dseg: None, rid: 5, payload: body.encode() },
        Command::IofenceC {
            pr: false,
            pw: false,
            wsi: false,
            store: Some(Store { address: 0x6_0000, data: 77 }),
        },
    ];
    let words: Vec<u64> = commands.iter().flat_map(|command| command.encode()).collect();
    good(s, json!({ "op": "write_memory", "address": 0x3_0000, "words": words }));
    good(s, json!({ "op": "watch", "address": 0x6_0000, "length": 8 }));
    let answer = good(s, json!({ "op": "write_register", "register": "cqt", "value": 2 }));
    let event = &answer["events"][0];
    assert_eq!(
        (event["event"].as_str(), event["rid"].as_u64()),
        (Some("invalidation_request"), Some(5)),
        "{answer}"
    );
    assert_eq!((event["first"].as_str(), event["last"].as_str()), (Some("0x0"), Some("0xffffffffffffffff")));
    let completion = json!({ "op": "invalidation_completion", "rid": 5, "itags": [event["itag"]] });
    let answer = good(s, completion);
    let event = json!({ "event": "memory_write", "address": "0x60000", "word": "0x4d" });
    assert_eq!(answer["events"], json!([event]));
    let page = json!({ "op": "page_request", "device_id": 5, "address": 0x7000, "read": true, "last": true, "index": 9 });
    let answer = good(s, page.clone());
    let rose = answer["events"].as_array().unwrap().iter().find(|event| event["event"] == "interrupt");
    assert_eq!(rose.unwrap()["rose"], json!([0]), "{answer}");
    let record = good(s, json!({ "op": "read_memory", "address": 0x4_0000, "words": 2 }));
    assert_eq!(record["result"]["words"], json!(["0x50000000000", "0x704d"]));
    // Off: the IOMMU answers itself.
    good(s, json!({ "op": "write_register", "register": "pqcsr", "value": 0 }));
    let answer = good(s, page);
    let event = &answer["events"][0];
    assert_eq!(
        (event["event"].as_str(), event["rid"].as_u64(), event["index"].as_u64()),
        (Some("group_response"), Some(5), Some(9))
    );
    // One that nobody waits for.
    let answer = good(s, json!({ "op": "invalidation_completion", "rid": 5, "itags": [3], "count": 8 }));
    assert_eq!((&answer["result"], &answer["events"]), (&json!({}), &Value::Null));
}

/// What a client sees of `cqcsr` and `cqh` when an ATS.INVAL and the fence behind it have waited for these cycles.
fn after_waiting(session: &mut Session, cycles: &[u64]) -> (u64, u64) {
    good(session, json!({ "op": "reset" }));
    tables(session);
    good(session, json!({ "op": "write_register", "register": "cqb", "value": 0x30 << 10 | 1 }));
    good(session, json!({ "op": "write_register", "register": "cqcsr", "value": 1 }));
    good(session, json!({ "op": "settle" }));
    let body = InvalidationRequest { global: false, page: u64::MAX >> 13, napot: true };
    let commands = [
        Command::AtsInval { pid: None, dseg: None, rid: 5, payload: body.encode() },
        Command::IofenceC { pr: false, pw: false, wsi: false, store: None },
    ];
    let words: Vec<u64> = commands.iter().flat_map(|command| command.encode()).collect();
    good(session, json!({ "op": "write_memory", "address": 0x3_0000, "words": words }));
    good(session, json!({ "op": "write_register", "register": "cqt", "value": 2 }));
    good(session, json!({ "op": "settle" }));
    for cycles in cycles {
        good(session, json!({ "op": "step", "cycles": cycles }));
    }
    good(session, json!({ "op": "settle" }));
    ["cqcsr", "cqh"]
        .map(|register| {
            let answer = good(session, json!({ "op": "read_register", "register": register }));
            u64::from_str_radix(&answer["result"]["value"].as_str().unwrap()[2..], 16).unwrap()
        })
        .into()
}

#[test]
fn invalidation_requests_without_completion_time_out() {
    let waits = (0x1_0001, 1);
    let timed_out = (0x1_0201, 1);
    for (design, kind) in
        [("full", EngineKind::Model), ("default", EngineKind::Model), ("full", EngineKind::Rtl)]
    {
        let timeout = u64::from(Design::shipped(design).unwrap().ats_timeout);
        let mut session = session(design, kind);
        // Settling takes the hardware far less than these 5000 cycles.
        assert_eq!(after_waiting(&mut session, &[timeout - 5000]), waits, "{design}");
        assert_eq!(after_waiting(&mut session, &[timeout * 4 / 3 + 100]), timed_out, "{design}");
        let parts = [timeout / 4; 6];
        assert_eq!(after_waiting(&mut session, &parts), timed_out, "{design}");
    }
    // The last cycle counts.
    let mut session = session("full", EngineKind::Model);
    let timeout = u64::from(Design::shipped("full").unwrap().ats_timeout);
    assert_eq!(after_waiting(&mut session, &[timeout - 1]), waits);
    assert_eq!(after_waiting(&mut session, &[timeout - 1, 1]), timed_out);
}

/// What waits for a tag is sent when one has timed out, and its time begins then.
#[test]
fn one_timeout_lets_the_next_request_go_on() {
    let mut session = session("full", EngineKind::Model);
    let s = &mut session;
    tables(s);
    let (timeout, tags) = (u64::from(s.design.ats_timeout), u64::from(s.design.itags));
    good(s, json!({ "op": "write_register", "register": "cqb", "value": 0x30 << 10 | 4 }));
    good(s, json!({ "op": "write_register", "register": "cqcsr", "value": 1 }));
    let command = Command::AtsInval { pid: None, dseg: None, rid: 5, payload: 0 };
    let words: Vec<u64> = (0..=tags).flat_map(|_| command.encode()).collect();
    good(s, json!({ "op": "write_memory", "address": 0x3_0000, "words": words }));
    good(s, json!({ "op": "write_register", "register": "cqt", "value": tags + 1 }));
    let head = |s: &mut Session| {
        good(s, json!({ "op": "read_register", "register": "cqh" }))["result"]["value"].clone()
    };
    assert_eq!(head(s), format!("{tags:#x}"));
    good(s, json!({ "op": "step", "cycles": 3 * timeout / 2 }));
    assert_eq!(head(s), format!("{:#x}", tags + 1));
    // It was sent after one timeout and has waited for half of another.
    let answer = good(s, json!({ "op": "invalidation_completion", "rid": 5, "itags": [0] }));
    assert!(answer.get("error").is_none());
    let fence = Command::IofenceC { pr: false, pw: false, wsi: false, store: None }.encode();
    let words = fence.to_vec();
    good(s, json!({ "op": "write_memory", "address": 0x3_0000 + 16 * (tags + 1), "words": words }));
    good(s, json!({ "op": "write_register", "register": "cqt", "value": tags + 2 }));
    // Nothing is in flight; those that timed out are reported.
    assert_eq!(good(s, json!({ "op": "read_register", "register": "cqcsr" }))["result"]["value"], "0x10201");
}

#[test]
fn memory_is_read_written_watched_and_fails() {
    let mut session = session("tiny", EngineKind::Model);
    let s = &mut session;
    good(s, json!({ "op": "write_memory", "address": "0x1000", "data": "0102fE" }));
    let answer = good(s, json!({ "op": "read_memory", "address": 4095, "length": 5 }));
    assert_eq!(answer["result"]["data"], "000102fe00");
    let answer = good(s, json!({ "op": "read_memory", "address": 4096, "words": 1 }));
    assert_eq!(answer["result"]["words"], json!(["0xfe0201"]));
    tables(s);
    // A fault queue of 2 records at 0x50000, watched.
    good(s, json!({ "op": "write_register", "register": "fqb", "value": 0x50 << 10 }));
    good(s, json!({ "op": "write_register", "register": "fqcsr", "value": 1 }));
    good(s, json!({ "op": "settle" }));
    good(s, json!({ "op": "watch", "address": 0x5_0000, "length": 8 }));
    good(s, json!({ "op": "inject", "address": 0x2_2008, "length": 8, "failure": "corrupt" }));
    let answer = good(s, json!({ "op": "translate", "device_id": 5, "iova": 0x1000 }));
    assert_eq!(answer["result"]["cause"], 274, "{answer}");
    let event = &answer["events"][0];
    assert_eq!((event["event"].as_str(), event["address"].as_str()), (Some("memory_write"), Some("0x50000")));
    good(s, json!({ "op": "heal" }));
    let answer = good(s, json!({ "op": "translate", "device_id": 5, "iova": 0x3000 }));
    assert_eq!(answer["result"]["cause"], 13);
    // The second record is behind what is watched.
    assert!(answer.get("events").is_none(), "{answer}");
    good(s, json!({ "op": "reset" }));
    let answer = good(s, json!({ "op": "read_register", "register": "ddtp" }));
    assert_eq!(answer["result"]["value"], "0x0");
}

#[test]
fn errors_name_the_field_and_the_mend() {
    let mut session = session("tiny", EngineKind::Model);
    let s = &mut session;
    for (line, words) in [
        (&b"{\"op\": \"info\""[..], "EOF"),
        (b"[1, 2]", "a request is an object"),
        (b"\xff\xfe", "not JSON"),
        (b"{\"op\": \"info\"} {}", "trailing"),
    ] {
        let answer: Value = serde_json::from_str(&s.answer(line)).unwrap();
        assert_eq!(answer["error"]["kind"], "json", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
    }
    bad(s, json!({ "id": 4 }), "op", Some("op"), &["missing", "translate_many"]);
    bad(s, json!({ "op": "fly" }), "op", Some("op"), &["\"fly\"", "read_register"]);
    assert_eq!(ask(s, json!({ "op": "fly", "id": [1, "x"] }))["id"], json!([1, "x"]), "errors carry the id");
    let field =
        |s: &mut Session, line: Value, field: &str, words: &[&str]| bad(s, line, "field", Some(field), words);
    field(s, json!({ "op": "step", "cycles": -1 }), "cycles", &["-1 is not an integer from 0"]);
    field(s, json!({ "op": "step", "cycles": 1.5 }), "cycles", &["1.5"]);
    field(s, json!({ "op": "step", "cycle": 1 }), "cycle", &["not a field", "it has cycles"]);
    field(s, json!({ "op": "reset", "hard": true }), "hard", &["not a field"]);
    field(s, json!({ "op": "read_register" }), "register", &["missing", "offset"]);
    field(s, json!({ "op": "read_register", "register": "ddt" }), "register", &["ddt", "ddtp"]);
    field(s, json!({ "op": "read_register", "offset": 4096 }), "offset", &["4096", "to 4092"]);
    field(
        s,
        json!({ "op": "read_register", "offset": 4, "bytes": 8 }),
        "offset",
        &["multiple of the 8 bytes"],
    );
    field(s, json!({ "op": "read_register", "offset": 4, "bytes": 5 }), "bytes", &["5 is not 4 or 8"]);
    field(s, json!({ "op": "read_register", "register": "iohpmctr", "index": 99 }), "index", &["99"]);
    field(
        s,
        json!({ "op": "write_register", "register": "fctl", "value": "0x1ffffffff" }),
        "value",
        &["0x1ffffffff"],
    );
    field(s, json!({ "op": "write_register", "register": "fctl" }), "value", &["missing"]);
    field(s, json!({ "op": "translate", "iova": 0 }), "device_id", &["missing", "an integer from 0 to"]);
    field(s, json!({ "op": "translate", "device_id": 1 << 24, "iova": 0 }), "device_id", &["16777216"]);
    field(
        s,
        json!({ "op": "translate", "device_id": 1, "iova": 0, "write": 1 }),
        "write",
        &["true or false"],
    );
    field(
        s,
        json!({ "op": "translate", "device_id": 1, "iova": 0, "type": "ats" }),
        "type",
        &["\"translation_request\""],
    );
    let requests = json!([{ "device_id": 1, "iova": 0 }, { "device_id": 1, "iova": "zero" }]);
    field(s, json!({ "op": "translate_many", "requests": requests }), "requests[1].iova", &["\"zero\""]);
    field(s, json!({ "op": "submit", "requests": [7] }), "requests[0]", &["not an object"]);
    field(s, json!({ "op": "submit", "requests": [] }), "requests", &["0 elements"]);
    field(s, json!({ "op": "submit", "requests": {} }), "requests", &["not a list"]);
    field(s, json!({ "op": "write_memory", "address": 0, "data": "123" }), "data", &["two for each byte"]);
    field(s, json!({ "op": "write_memory", "address": 0, "words": [1, -1] }), "words[1]", &["-1"]);
    field(
        s,
        json!({ "op": "write_memory", "address": 0, "words": [1], "data": "00" }),
        "data",
        &["one of them"],
    );
    field(s, json!({ "op": "write_memory", "address": 0 }), "words", &["missing"]);
    field(s, json!({ "op": "read_memory", "address": "1 << 60" , "length": 1 }), "address", &["1 << 60"]);
    field(
        s,
        json!({ "op": "inject", "address": 0, "length": 8, "failure": "fire" }),
        "failure",
        &["\"corrupt\""],
    );
    field(s, json!({ "op": "invalidation_completion", "rid": 1, "itags": [32] }), "itags[0]", &["32"]);
    let page = json!({ "op": "page_request", "device_id": 1 << 23, "address": 0 });
    field(s, page, "device_id", &["0 to"]);
    field(s, json!({ "op": "invalidation_completion", "rid": 1 << 16, "itags": [0] }), "rid", &["0 to"]);
    // The last byte of memory is there, and the one behind it is not; nothing is written then.
    let pas = Design::shipped("tiny").unwrap().pas;
    let end = u64::MAX >> (64 - pas);
    good(s, json!({ "op": "write_memory", "address": end, "data": "77" }));
    bad(
        s,
        json!({ "op": "write_memory", "address": end, "data": "8888" }),
        "memory",
        Some("address"),
        &["ends at"],
    );
    assert_eq!(good(s, json!({ "op": "read_memory", "address": end, "length": 1 }))["result"]["data"], "77");
    bad(
        s,
        json!({ "op": "read_memory", "address": end, "length": 2 }),
        "memory",
        Some("address"),
        &["ends at"],
    );
    good(s, json!({ "op": "info" }));
}

#[test]
fn a_stream_is_answered_line_by_line_until_it_ends_or_quits() {
    let mut session = session("tiny", EngineKind::Model);
    let input = "\n{\"op\":\"info\"}\nnonsense\n\n{\"op\":\"step\",\"cycles\":3}";
    let mut output = Vec::new();
    serve(&mut session, input.as_bytes(), &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0]["result"].is_object()
            && lines[1]["error"].is_object()
            && lines[2]["result"]["cycle"].is_u64()
    );
    assert!(!session.is_over());
    let mut output = Vec::new();
    serve(&mut session, &b"{\"op\":\"quit\"}\n{\"op\":\"info\"}\n"[..], &mut output).unwrap();
    assert_eq!(String::from_utf8(output).unwrap(), "{\"result\":{}}\n");
    assert!(session.is_over());
}

#[test]
fn lines_that_are_too_long_are_skipped() {
    let mut session = session("tiny", EngineKind::Model);
    let long = std::io::repeat(b' ').take(LONGEST_LINE as u64 + 100_000);
    let input = long.chain(&b"\n{\"op\":\"info\"}\n"[..]);
    let mut output = Vec::new();
    serve(&mut session, input, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert!(lines[0].contains("longer than") && lines[1].contains("\"protocol\""));
}
