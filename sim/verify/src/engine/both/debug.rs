//! The debug interface translates like a request: by any mixture of old and new values.

use super::Both;
use super::mixtures::{Continuation, MOST_MIXTURES};
use crate::engine::versions::{Choices, WhatIf};
use crate::engine::{Engine, EngineError};
use pasidon_spec::registers::{tr_req_ctl, tr_response};

/// Whether two responses say the same: the other fields of a fault have no meaning.
fn same(a: u64, b: u64) -> bool {
    a == b || tr_response::FAULT.is_set(a & b)
}

impl Both {
    /// If the debug interface has a request: finds a mixture of old and new values that gives the hardware's answer, and has the
    /// golden model go on from there. If none does, the request is left.
    pub(super) fn debug_of_any_version(&mut self) -> Result<(), EngineError> {
        let has_request = tr_req_ctl::GO_BUSY.is_set(self.golden_register(&tr_req_ctl::REG));
        if self.versions.is_empty() || !has_request {
            return Ok(());
        }
        self.rtl.quiesce()?;
        let seen = self.rtl.read_register(tr_response::REG.offset, tr_response::REG.bytes)?;
        let mut choices = Choices::default();
        for _ in 0..MOST_MIXTURES {
            let (golden, memory) = self.model.parts();
            let mut run = golden.clone();
            let mut what_if = WhatIf::new(memory, &self.versions, &mut choices);
            run.answer_debug_request(&mut what_if);
            let WhatIf { written, notices, impossible, .. } = what_if;
            let response = run.read_register(tr_response::REG.offset, tr_response::REG.bytes);
            if !impossible && same(seen, response) {
                self.go_on_from(Continuation { run, written, notices });
                break;
            }
            if !choices.advance() {
                break;
            }
        }
        Ok(())
    }
}
