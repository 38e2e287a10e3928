//! The links of the benchmark.

use std::time::Duration;

use anyhow::Result;
use link::{Conditions, Lte, Outage, Step, Trace};

/// A link, and how long windows go over it.
pub struct Stretch {
    /// Its name in tables.
    pub name: &'static str,
    /// Both directions.
    pub trace: Trace,
    /// How long.
    pub length: Duration,
    /// When nothing passes, as (from, until) since the stretch began.
    pub outages: Vec<(f64, f64)>,
}

/// How long the stretches are, and the outages of the last.
pub struct Lengths {
    /// On each constant link.
    pub constant: Duration,
    /// On the trace.
    pub trace: Duration,
    /// Outages of the trace: (from, until), seconds.
    pub outages: &'static [(f64, f64)],
}

/// Of a full run.
pub const FULL: Lengths = Lengths {
    constant: Duration::from_secs(10),
    trace: Duration::from_secs(40),
    outages: &[(8.0, 13.0), (24.0, 29.0)],
};
/// Of a quick one.
pub const QUICK: Lengths = Lengths {
    constant: Duration::from_millis(1600),
    trace: Duration::from_secs(10),
    outages: &[(2.0, 4.0)],
};

/// The name of the trace.
pub const TRACE: &str = "LTE trace";

/// All links, with the trace last.
///
/// # Errors
/// Never with lengths that end after their outages.
pub fn all(lengths: &Lengths) -> Result<Vec<Stretch>> {
    let constant = |(name, megabits, rtt): (&'static str, u64, u64)| -> Result<Stretch> {
        let delay = Duration::from_millis(rtt / 2);
        Ok(Stretch {
            name,
            trace: Trace::constant(Conditions::new(megabits * 1_000_000, delay))?,
            length: lengths.constant,
            outages: Vec::new(),
        })
    };
    let mut all = [
        ("400 Mbit/s", 400, 20),
        ("300 Mbit/s", 300, 20),
        ("200 Mbit/s", 200, 20),
        ("20 Mbit/s", 20, 80),
        ("2 Mbit/s", 2, 150),
    ]
    .into_iter()
    .map(constant)
    .collect::<Result<Vec<_>>>()?;
    all.push(Stretch {
        name: TRACE,
        trace: with_outages(&Lte::default().trace()?, lengths.outages)?,
        length: lengths.trace,
        outages: lengths.outages.to_vec(),
    });
    Ok(all)
}

/// The trace, cut in the outages: what is on the way then is lost.
fn with_outages(trace: &Trace, outages: &[(f64, f64)]) -> Result<Trace> {
    let mut times: Vec<Duration> = trace.as_steps().iter().map(|step| step.at).collect();
    for (from, until) in outages {
        times.push(Duration::from_secs_f64(*from));
        times.push(Duration::from_secs_f64(*until));
    }
    times.sort_unstable();
    times.dedup();
    let step = |at: Duration| {
        let mut conditions = trace.at(at);
        let time = at.as_secs_f64();
        if outages
            .iter()
            .any(|(from, until)| (*from..*until).contains(&time))
        {
            conditions.outage = Outage::Cut;
        }
        Step { at, conditions }
    };
    Ok(Trace::steps(times.into_iter().map(step).collect(), None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_in_the_outages_and_something_beside_them() {
        for lengths in [FULL, QUICK] {
            let links = all(&lengths).unwrap();
            let trace = links.last().unwrap();
            assert_eq!(trace.name, TRACE);
            for (from, until) in &trace.outages {
                let at = |seconds| trace.trace.at(Duration::from_secs_f64(seconds)).outage;
                assert_ne!(at(from - 0.01), Outage::Cut);
                assert_eq!(at(from + 0.01), Outage::Cut);
                assert_eq!(at(until - 0.01), Outage::Cut);
                assert_ne!(at(until + 0.01), Outage::Cut);
                assert!(Duration::from_secs_f64(until + 5.0) <= trace.length);
            }
        }
    }
}
