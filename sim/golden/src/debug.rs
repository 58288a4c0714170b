//! The translation-request interface. (Chapter "Debug support"; registers `tr_req_iova`, `tr_req_ctl`, `tr_response`.)

use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::{tr_req_ctl, tr_req_iova, tr_response};

use super::{Golden, Memory};
use pasidon_spec::request::{AddressType, Request, Response};

impl Golden {
    /// Answers the request in the registers, if there is one. Says whether there was.
    pub fn answer_debug_request(&mut self, memory: &mut impl Memory) -> bool {
        let control = self.registers.tr_req_ctl;
        if !tr_req_ctl::GO_BUSY.is_set(control) {
            return false;
        }
        let exec = tr_req_ctl::EXE.is_set(control);
        let process_id = tr_req_ctl::PV.is_set(control).then_some(tr_req_ctl::PID.get(control) as u32);
        let request = Request {
            device_id: tr_req_ctl::DID.get(control) as u32,
            process_id,
            privileged: tr_req_ctl::PRIV.is_set(control),
            exec,
            // Write permission at either stage includes read permission.
            write: !exec && !tr_req_ctl::NW.is_set(control),
            at: AddressType::Untranslated,
            iova: tr_req_iova::VPN.get(self.registers.tr_req_iova) << PAGE_SHIFT,
            data: 0,
            cxl: false,
        };
        self.count_request(&request);
        self.registers.tr_response = match self.answer(memory, &request, true) {
            Response::Success(translation) => {
                let (page, sized) = translation.encoded_page();
                tr_response::PBMT.of(translation.pbmt.into())
                    | tr_response::S.of(sized.into())
                    | tr_response::PPN.of(page)
            }
            Response::Fault(_) => tr_response::FAULT.mask(),
        };
        self.registers.tr_req_ctl &= !tr_req_ctl::GO_BUSY.mask();
        true
    }
}
