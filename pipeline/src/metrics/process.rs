//! What the operating system says of this process.

use std::fmt;

use super::page::Page;

/// Writes the memory that the process holds, if the system says.
pub fn write(page: &mut Page<'_, '_>) -> Result<(), fmt::Error> {
    let Some(bytes) = resident() else {
        return Ok(());
    };
    page.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes",
        bytes as f64,
    )
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_known() {
        let bytes = super::resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
