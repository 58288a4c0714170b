//! The engines on the design `tiny`.

use super::*;
use pasidon_cosim::{BenchError, BusMemory, Cache, Clocked, Extent, Flavour, Pace};
use pasidon_rtl::design::Design;
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::fault::Cause;
use pasidon_spec::registers::{capabilities, cqb, cqcsr, cqh, cqt, ddtp};
use pasidon_spec::request::{AddressType, Fault};

const LATENCY: u32 = 7;

fn everywhere(design: &Design) -> EngineMemory {
    EngineMemory::sparse(Extent::Everywhere { width: design.pas })
}

fn rtl() -> Rtl {
    let design = Design::shipped("tiny").unwrap();
    let cache = Cache::in_workspace().quiet();
    Rtl::new(&design, &cache, Flavour::Fast, everywhere(&design), Pace::even(LATENCY)).unwrap()
}

fn model() -> Model {
    let design = Design::shipped("tiny").unwrap();
    Model::new(parameters(&design), 1, everywhere(&design))
}

/// What every engine does: identifies itself, refuses, passes through, carries out a fence.
fn basics(engine: &mut dyn Engine) {
    let capabilities = engine.read_register(capabilities::REG.offset, 8).unwrap();
    assert_eq!(capabilities::VERSION.get(capabilities), 0x10);
    let request = Request { device_id: 5, iova: 0x1234_5678, ..Request::default() };
    let refused = engine.translate(0, &request).unwrap();
    let is = |response: Response, cause| response.fault().is_some_and(|fault: Fault| fault.cause == cause);
    assert!(is(refused, Cause::AllInboundTransactionsDisallowed));

    engine.write_register(ddtp::REG.offset, 8, ddtp::IOMMU_MODE.of(iommu_mode::BARE)).unwrap();
    engine.quiesce().unwrap();
    let tickets: Vec<Ticket> = (0..40)
        .map(|i| {
            let at = if i % 4 == 3 { AddressType::Translated } else { AddressType::Untranslated };
            engine.submit(i, &Request { iova: 0x4000 + i as u64, at, ..request })
        })
        .collect();
    engine.quiesce().unwrap();
    assert_eq!(engine.outstanding(), 0);
    let mut responses = engine.take_responses();
    responses.sort_unstable_by_key(|(ticket, _)| *ticket);
    assert_eq!(responses.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), tickets);
    for (i, (_, response)) in responses.iter().enumerate() {
        match i % 4 {
            3 => assert!(is(*response, Cause::TransactionTypeDisallowed)),
            _ => assert_eq!(response.success().map(|t| t.spa), Some(0x4000 + i as u64)),
        }
    }

    engine.write_register(cqb::REG.offset, 8, cqb::PPN.of(0x80) | cqb::LOG2SZ_1.of(1)).unwrap();
    engine.write_register(cqcsr::REG.offset, 4, cqcsr::CQEN.of(1)).unwrap();
    engine.quiesce().unwrap();
    let store = pasidon_spec::command::Store { address: 0x9_0004, data: 0xfeed_f00d };
    let fence =
        pasidon_spec::command::Command::IofenceC { pr: true, pw: true, wsi: false, store: Some(store) };
    let bytes: Vec<u8> = fence.encode().iter().flat_map(|word| word.to_le_bytes()).collect();
    assert!(engine.write_memory(0x8_0000, &bytes));
    engine.write_register(cqt::REG.offset, 4, 1).unwrap();
    engine.quiesce().unwrap();
    assert_eq!(engine.read_register(cqh::REG.offset, 4).unwrap(), 1);
    let mut stored = [0; 8];
    assert!(engine.read_memory(0x9_0000, &mut stored));
    assert_eq!(u64::from_le_bytes(stored), 0xfeed_f00d << 32);

    engine.reset().unwrap();
    assert!(is(engine.translate(0, &request).unwrap(), Cause::AllInboundTransactionsDisallowed));
}

#[test]
fn the_hardware_is_an_engine() {
    let mut rtl = rtl();
    basics(&mut rtl);
    rtl.set_pace(Pace {
        jitter: 9,
        outstanding: 2,
        memory_pauses: 100,
        response_pauses: 100,
        request_pauses: 100,
        exclusive_failures: 50,
        ..Pace::even(3)
    });
    rtl.reseed(7);
    basics(&mut rtl);
}

#[test]
fn the_golden_model_is_an_engine() {
    basics(&mut model());
}

#[test]
fn both_are_one_engine() {
    basics(&mut Both::new(rtl(), model()));
}

#[test]
fn both_say_where_they_differ() {
    let mut both = Both::new(rtl(), model());
    both.model().write_register(ddtp::REG.offset, 8, ddtp::IOMMU_MODE.of(iommu_mode::BARE)).unwrap();
    let request = Request { iova: 0x5000, ..Request::default() };
    let error = both.translate(0, &request).unwrap_err().to_string();
    assert!(
        error.contains("0x5000") && error.contains("256") && error.contains("golden model success"),
        "{error}"
    );
    let error = both.read_register(ddtp::REG.offset, 8).unwrap_err().to_string();
    assert!(error.contains("register") && error.contains("0x10"), "{error}");
}

#[test]
fn old_values_are_possible_until_they_are_forgotten() {
    let (mut both, address) = (Both::new(rtl(), model()), 0x8000);
    assert!(both.store(address, 1, true));
    // The hardware was off and remembers nothing, so that only the present is ever seen here: what counts is that a
    // difference between the two memories is found once both have written.
    both.rtl().memory_mut().write(address, 2, 0xff);
    let error = both.settle().unwrap_err().to_string();
    assert!(error.contains("memory") && error.contains("0x8000") && error.contains("0x2"), "{error}");
    both.forget_all();
    both.clear_memory();
    assert_eq!(both.load(address), Some(0));
}

#[test]
fn waiting_has_a_bound() {
    let mut rtl = rtl();
    let begun = rtl.cycles();
    rtl.wait_until(10, "this was early", |rtl| rtl.cycles() == begun + 10).unwrap();
    assert_eq!(rtl.cycles(), begun + 10);
    match rtl.wait_until(10, "nothing came", |_| false).unwrap_err() {
        BenchError::Hung { what, waited, cycle } => {
            assert_eq!((what.as_str(), waited, cycle), ("nothing came", 10, begun + 21));
        }
        other => panic!("{other}"),
    }
    // A look that lets no cycles pass for a while is not late, and what it fails with comes out.
    let mut looks = 0;
    let found = rtl.look_until(0, "", |_| {
        looks += 1;
        Ok::<_, BenchError>((looks == 100).then_some(looks))
    });
    assert_eq!((found.unwrap(), rtl.cycles()), (100, begun + 21));
    let failed = rtl.look_until(0, "", |_| Err::<Option<()>, _>(EngineError::Unsupported("a look")));
    assert!(matches!(failed, Err(EngineError::Unsupported("a look"))));
    // An answer that the device takes late is waited for.
    rtl.hold(100);
    let ticket = rtl.submit(0, &Request::default());
    rtl.finish().unwrap();
    assert!(rtl.cycles() >= begun + 121 && rtl.take_responses()[0].0 == ticket);
}
