//! A decision in words.

use std::fmt;

use crate::planner::{Considered, Decision, Payload, Refusal};

impl Decision {
    /// What was decided and what that rests on: the action, the risk, the link, the cloud and the edge, one statement each.
    #[must_use]
    pub fn statements(&self) -> [String; 5] {
        let (inputs, link, cloud) = (&self.inputs, &self.inputs.link, &self.inputs.cloud);
        let why = match self.audit_of {
            Some(best) => format!("as an audit of {best}"),
            None => "the cheapest of what is possible".to_owned(),
        };
        let action = format!("{}{}, {why}", self.action, Sent(self.payload));
        let risk = format!(
            "Confidence {:.2} gives risk {:.3}, limit {:.3}",
            inputs.window.confidence, inputs.risk, inputs.limits.risk
        );
        let link = if link.contact {
            format!(
                "link {:.1} KB/s, round trip {:.0} ms, {:.1} KB in flight",
                link.bandwidth / 1e3,
                link.rtt * 1e3,
                link.in_flight as f64 / 1e3
            )
        } else {
            format!("no contact for {:.1} s", link.away)
        };
        let cloud = if cloud.available {
            format!("cloud waits {:.0} ms", cloud.wait * 1e3)
        } else {
            format!("cloud not heard for {:.1} s", cloud.away)
        };
        let (busy, limit) = (inputs.edge.busy() * 100.0, inputs.limits.latency * 1e3);
        let edge = format!("edge {busy:.0} % busy; latency limit {limit:.0} ms");
        [action, risk, link, cloud, edge]
    }
}

/// One line of what and why, then for each action that was weighed.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.inputs.window.seq;
        let [action, rest @ ..] = self.statements();
        write!(f, "window {seq}: {action}. {}", rest.join("; "))?;
        for option in &self.considered {
            write!(f, "\n  {option}")?;
        }
        Ok(())
    }
}

impl Considered {
    /// The action, and what it would send.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.action, Sent(self.payload))
    }
}

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: cost {:.3} s: latency {:.3} s, link {:.3} s, cloud {:.3} s, risk {:.3}",
            self.name(),
            self.cost,
            self.latency,
            self.link,
            self.cloud,
            self.risk
        )?;
        match self.refused {
            Some(why) => write!(f, "; not possible: {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Happened => "something happened in the window",
            Self::Risk => "the risk is above the limit",
            Self::NoContact => "there is no contact",
            Self::CloudAway => "the cloud is not available",
            Self::Reachable => "the cloud can be had now",
        })
    }
}

struct Sent(Payload);

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Payload::Nothing => Ok(()),
            Payload::Features { tokens } => write!(f, " with {tokens} tokens"),
            Payload::Keyframe => f.write_str(" with the keyframe"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::planner::{Inputs, Planner, Settings, Window};
    use crate::thresholds::Limits;
    use crate::{cloud, edge, link};

    #[test]
    fn says_what_and_why() {
        let inputs = Inputs {
            window: Window {
                seq: 17,
                empty: false,
                confidence: 0.62,
                draft_left: 0.0,
                tokens: 90,
                token_bytes: 290,
                fixed_bytes: 5000,
                caption_bytes: 600,
                keyframe_bytes: None,
            },
            link: link::State {
                bandwidth: 50_000.0,
                rtt: 0.02,
                contact: true,
                away: 0.0,
                in_flight: 10_000,
            },
            edge: edge::State {
                stages: [0.1, 0.05, 0.03],
                budget: 1.0,
                load: 0.4,
            },
            cloud: cloud::State {
                available: true,
                away: 0.0,
                wait: 0.1,
                confirmed: 0.06,
                corrected: 0.11,
                captioned: 0.12,
            },
            risk: 0.31,
            limits: Limits {
                risk: 0.12,
                latency: 0.8,
            },
        };
        let said = Planner::new(Settings::default())
            .unwrap()
            .decide(inputs)
            .to_string();
        // (0.8 - 0.02 - 0.1 - 0.0755) s * 50 KB/s, less 10,000 in flight and 5,600, is 50 times 290.
        let first = said.lines().next().unwrap();
        assert!(
            first.starts_with("window 17: verify with 50 tokens"),
            "{said}"
        );
        assert!(first.contains("risk 0.310, limit 0.120"), "{said}");
        let keep = said
            .lines()
            .find(|line| line.starts_with("  keep"))
            .unwrap();
        assert!(
            keep.ends_with("not possible: the risk is above the limit"),
            "{said}"
        );
        let defer = said
            .lines()
            .find(|line| line.starts_with("  defer"))
            .unwrap();
        assert!(
            defer.ends_with("not possible: the cloud can be had now"),
            "{said}"
        );
    }
}
