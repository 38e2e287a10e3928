//! What this process takes of the machine.

use anyhow::Result;

/// Seconds that the cores worked for this process so far, in the kernel's ticks of 10 ms.
pub fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, which may hold blanks, ends with the last bracket.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let mut ticks = 0.0;
    for field in after.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / 100.0)
}

/// Memory of this process, in KiB.
pub fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.map_or(Ok(0), str::parse)?)
}
