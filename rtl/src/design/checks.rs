//! What holds for every design: each value in its range, and options with what they need.

use super::Design;
use super::error::DesignError;
use super::keys::KEYS;

impl Design {
    /// Checks every value, and those that depend on each other; `file` stands for the design in messages.
    ///
    /// # Errors
    /// [`DesignError::Value`] for the first one that does not hold.
    pub fn check(&self, file: &str) -> Result<(), DesignError> {
        self.emit.check(file)?;
        let no_l2 = self.l2_sets == 0 && self.l2_ways == 0;
        for key in KEYS.iter().filter(|key| !(no_l2 && key.key == "l2_ways")) {
            let value = i64::from(key.get(self));
            if !key.legal.admits(value) {
                return Err(DesignError::out_of_range(file, key, value));
            }
        }
        // What has to be true for a key to be true.
        let implied = [
            ("translation.sv57", self.sv57, "translation.sv48 = true", self.sv48),
            ("translation.sv48x4", self.sv48x4, "translation.sv39x4 = true", self.sv39x4),
            ("translation.sv57x4", self.sv57x4, "translation.sv48x4 = true", self.sv48x4),
            // Without a second stage `msiptp.MODE` must be Off.
            ("msi.flat", self.msi_flat, "translation.sv39x4 or sv32x4 = true", self.second_stage()),
            ("msi.mrif", self.msi_mrif, "msi.flat = true", self.msi_flat),
            // `capabilities.HPM` promises both.
            ("monitor.cycles", self.hpm_cycles, "monitor.counters at least 1", self.hpm_counters > 0),
            ("ats.t2gpa", self.t2gpa, "ats.ats = true", self.ats),
            ("ats.t2gpa", self.t2gpa, "translation.sv39x4 or sv32x4 = true", self.second_stage()),
        ];
        for (key, on, needs, there) in implied {
            if on && !there {
                let remedy = format!("set {needs}, or {key} = false");
                return Err(DesignError::value(
                    file,
                    key,
                    "true".into(),
                    format!("true only with {needs}"),
                    &remedy,
                ));
            }
        }
        if self.hpm_counters > 0 && !self.hpm_cycles {
            return Err(DesignError::value(
                file,
                "monitor.counters",
                self.hpm_counters.to_string(),
                "0 without monitor.cycles = true".into(),
                "a performance monitor has both: set monitor.cycles = true, or monitor.counters = 0",
            ));
        }
        if !self.wired && !self.msi {
            return Err(DesignError::value(
                file,
                "interrupts.wired",
                "false".into(),
                "false only with interrupts.msi = true".into(),
                "an IOMMU has interrupts: set one of them to true",
            ));
        }
        if self.walkers > self.miss_entries {
            return Err(DesignError::value(
                file,
                "walk.walkers",
                self.walkers.to_string(),
                format!("an integer from 1 to walk.miss_entries, which is {}", self.miss_entries),
                "each walk serves a miss entry: lower walkers, or raise miss_entries",
            ));
        }
        self.check_process_ids(file)
    }

    /// A process_id must fit the widest process directory and must need the widest one.
    fn check_process_ids(&self, file: &str) -> Result<(), DesignError> {
        let modes = [("pd8", self.pd8, 8), ("pd17", self.pd17, 17), ("pd20", self.pd20, 20)];
        let Some((widest, _, most)) = modes.into_iter().rev().find(|mode| mode.1) else { return Ok(()) };
        let least = modes.into_iter().filter(|mode| mode.1).rev().nth(1).map_or(1, |mode| mode.2 + 1);
        if (least..=most).contains(&self.process_id_width) {
            return Ok(());
        }
        let remedy = if self.process_id_width > most {
            format!(
                "no process directory holds so wide a process_id: lower it, or turn on more than {widest}"
            )
        } else {
            format!("process.{widest} would never be needed: turn it off, or widen process_id_width")
        };
        Err(DesignError::value(
            file,
            "address.process_id_width",
            self.process_id_width.to_string(),
            format!(
                "an integer from {least} to {most} with process.{widest} as the widest process directory"
            ),
            &remedy,
        ))
    }
}
