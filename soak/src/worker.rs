//! A cloud worker as `msao cloud` runs it, but for its model, which is a stub that takes its time.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use broker::{FeatureWindow, caption::Verdict};
use clap::Args;
use cloud_sink::{Config, Fault, Verifier, run_with};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ledger::{GIVEN, Ledger, TAKEN, now_ns},
    windows::{ENCODER, FAILS, KILLS, drawn, verdict},
};

/// The most milliseconds that the stub takes for a window.
const LONGEST_MS: u64 = 40;

/// How a worker runs.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    ledger: PathBuf,
    #[arg(long)]
    seed: u64,
}

struct Stub {
    seed: u64,
    ledger: Ledger,
}

impl Verifier for Stub {
    fn model(&self) -> &str {
        "stub"
    }

    fn provider(&self) -> String {
        "none".to_owned()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        self.ledger.write(TAKEN, &window.id, &now_ns());
        let flagged = |flag: &str| window.flags.iter().any(|other| other == flag);
        if flagged(KILLS) {
            // Without a word, as by the kernel when memory is out.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        let pause = drawn(self.seed, &window.id, LONGEST_MS);
        std::thread::sleep(Duration::from_millis(pause));
        self.ledger.write(GIVEN, &window.id, &now_ns());
        if flagged(FAILS) {
            return Err(Fault::Passing("the stub fails on it".to_owned()));
        }
        let other = window.modalities.iter().find(|of| of.encoder != ENCODER);
        if let Some(other) = other {
            let reason = format!("encoder {} is not {ENCODER}", other.encoder);
            return Err(Fault::Hopeless(reason));
        }
        Ok(Some(verdict(window)))
    }
}

/// Works until SIGTERM.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&arguments.config);
    let text = text.with_context(|| format!("{}", arguments.config.display()))?;
    let config: Config = toml::from_str(&text)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let stub = Stub {
        seed: arguments.seed,
        ledger: Ledger::append(&arguments.ledger)?,
    };
    let stop = async {
        terminated.recv().await;
    };
    run_with(config, move || Ok(stub), stop).await?;
    Ok(ExitCode::SUCCESS)
}
