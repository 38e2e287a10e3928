//! How TensorRT runs networks: where it keeps what it builds, its precision, and the shapes that it builds for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::ep;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Provider, Result};

/// Most networks whose shapes are given, and longest list of a network's shapes in bytes.
const MOST_NETWORKS: usize = 64;
const LONGEST_SHAPES: usize = 65_536;
/// Most of one dimension.
const MOST: u32 = 1 << 24;
/// A run on TensorRT that takes longer is told of: it built an engine for new shapes.
const LONG_RUN: Duration = Duration::from_secs(2);

/// The table `[tensorrt]`. Left out: nothing is kept, precision is that of the network, and an engine is built for the
/// shapes that come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRt {
    /// Folder that keeps engines, which depend on the network, the GPU and TensorRT's version.
    pub engine_cache: Option<PathBuf>,
    /// Folder that keeps the timings that an engine's build rests on: the next build is faster.
    pub timing_cache: Option<PathBuf>,
    /// Whether layers may run in f16 where that is faster: drafts and verdicts may then differ from the CPU's.
    pub fp16: bool,
    /// The shapes for which the engine of a network is built, by its file name.
    pub shapes: BTreeMap<String, Shapes>,
}

/// The shapes for which one engine of a network is built: of each input with an open size, `name:1x3x224x224`, several with
/// commas.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// The smallest.
    pub min: String,
    /// Those that it is fastest for.
    pub opt: String,
    /// The largest.
    pub max: String,
}

impl TensorRt {
    /// Checks what does not need TensorRT, for networks that `provider` runs.
    ///
    /// # Errors
    /// [`Error::NoTensorRt`] if it is a provider that is not TensorRT; [`Error::TensorRt`] if a path is empty or no text, or
    /// shapes are malformed or contradict one another.
    pub fn check(&self, provider: Provider) -> Result<()> {
        match provider {
            Provider::Auto | Provider::TensorRt => self.check_settings(),
            Provider::Cpu | Provider::Cuda => Err(Error::NoTensorRt(provider)),
        }
    }

    fn check_settings(&self) -> Result<()> {
        for (key, folder) in [
            ("engine_cache", &self.engine_cache),
            ("timing_cache", &self.timing_cache),
        ] {
            let Some(folder) = folder else { continue };
            let text = folder.to_str().unwrap_or_default();
            if text.is_empty() || text.contains('\0') {
                return Err(bad(key, "is empty, or no text: set it to a folder"));
            }
        }
        if self.shapes.len() > MOST_NETWORKS {
            let problem = format!(
                "is of {} networks, at most {MOST_NETWORKS} are allowed",
                self.shapes.len()
            );
            return Err(bad("shapes", problem));
        }
        for (network, shapes) in &self.shapes {
            let key = format!("shapes.\"{}\"", network.escape_debug());
            if !network.ends_with(".onnx") {
                return Err(bad(
                    key,
                    "is no file of a model folder, such as \"decoder_model_merged.onnx\"",
                ));
            }
            shapes.check().map_err(|problem| bad(key, problem))?;
        }
        Ok(())
    }

    /// The options for `network`. The engine's name holds the digest of the network's file: ONNX Runtime's own part of it does not
    /// depend on weights.
    fn options(&self, network: &Path) -> std::io::Result<ep::TensorRT> {
        let mut options = ep::TensorRT::default().with_fp16(self.fp16);
        if let Some(folder) = &self.engine_cache {
            std::fs::create_dir_all(folder)?;
            let digest = Sha256::digest(std::fs::read(network)?);
            let digest: String = digest[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let stem = network.file_stem().unwrap_or_default().to_string_lossy();
            options = options
                .with_engine_cache(true)
                .with_engine_cache_path(folder.display())
                .with_engine_cache_prefix(format!("{stem}-{digest}"));
        }
        if let Some(folder) = &self.timing_cache {
            std::fs::create_dir_all(folder)?;
            options = options
                .with_timing_cache(true)
                .with_timing_cache_path(folder.display());
        }
        let name = network.file_name().and_then(|name| name.to_str());
        if let Some(shapes) = name.and_then(|name| self.shapes.get(name)) {
            options = options
                .with_profile_min_shapes(&shapes.min)
                .with_profile_opt_shapes(&shapes.opt)
                .with_profile_max_shapes(&shapes.max);
        }
        Ok(options)
    }
}

impl Shapes {
    fn check(&self) -> Result<(), String> {
        let [min, opt, max] = [&self.min, &self.opt, &self.max].map(|text| read(text));
        let (min, opt, max) = (min?, opt?, max?);
        for (less, more, which) in [(&min, &opt, "min and opt"), (&opt, &max, "opt and max")] {
            if !less.keys().eq(more.keys()) {
                return Err(format!("has other inputs in {which}"));
            }
            for (input, small) in less {
                let large = &more[input];
                if small.len() != large.len() || small.iter().zip(large).any(|(s, l)| s > l) {
                    return Err(format!("of input `{input}` does not grow from {which}"));
                }
            }
        }
        Ok(())
    }
}

/// The inputs of a list of shapes.
fn read(text: &str) -> Result<BTreeMap<&str, Vec<u32>>, String> {
    if text.len() > LONGEST_SHAPES {
        return Err(format!(
            "has {} bytes, at most {LONGEST_SHAPES} are allowed",
            text.len()
        ));
    }
    let mut inputs = BTreeMap::new();
    for item in text.split(',') {
        let shape = item.rsplit_once(':').and_then(|(name, sizes)| {
            let sizes: Option<Vec<u32>> = (sizes.split('x'))
                .map(|size| size.parse().ok().filter(|size| *size <= MOST))
                .collect();
            let named = !name.is_empty() && !name.contains(char::is_control);
            Some((name, sizes?)).filter(|_| named)
        });
        let Some((name, sizes)) = shape else {
            let item: String = item.chars().take(80).collect();
            return Err(format!(
                "holds `{}`, which is not of the form input:1x3x224x224",
                item.escape_debug()
            ));
        };
        if inputs.insert(name, sizes).is_some() {
            return Err(format!("has input `{name}` twice"));
        }
    }
    Ok(inputs)
}

fn bad(key: impl Into<String>, problem: impl Into<String>) -> Error {
    let (key, problem) = (key.into(), problem.into());
    Error::TensorRt { key, problem }
}

static SETTINGS: Mutex<Option<TensorRt>> = Mutex::new(None);

/// How TensorRT runs the networks that this process opens from now on.
///
/// # Errors
/// [`Error::TensorRt`], as of [`TensorRt::check`].
pub fn configure(settings: TensorRt) -> Result<()> {
    settings.check_settings()?;
    *SETTINGS.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
    Ok(())
}

/// The provider for `network`, by the settings of now.
pub(crate) fn provider(network: &Path) -> Result<ep::TensorRT> {
    let settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(settings) = settings.as_ref() else {
        return Ok(ep::TensorRT::default());
    };
    (settings.options(network)).map_err(|error| {
        bad(
            "engine_cache, timing_cache",
            format!("cannot be made ready ({error}): correct the paths"),
        )
    })
}

/// Tells in the log of an engine that is built: when it begins, if it surely does, and how long it took.
#[derive(Debug)]
pub(crate) struct Building<'n> {
    network: &'n Path,
    begun: Instant,
    /// Shorter work built nothing, and is not told of.
    told_from: Duration,
}

impl<'n> Building<'n> {
    /// A session is opened: what can be built without inputs is built now.
    pub fn at_load(network: &'n Path) -> Self {
        tracing::info!(network = %network.display(), "TensorRT builds its engine, or takes it from its cache: it can take minutes");
        Self {
            network,
            begun: Instant::now(),
            told_from: Duration::ZERO,
        }
    }

    /// A network is run: for shapes that are new its engine is built.
    pub fn at_run(network: &'n Path) -> Self {
        Self {
            network,
            begun: Instant::now(),
            told_from: LONG_RUN,
        }
    }

    /// It is done, and nothing failed.
    pub fn done(self) {
        let took = self.begun.elapsed();
        if took >= self.told_from {
            let seconds = took.as_secs_f64();
            tracing::info!(network = %self.network.display(), seconds, "TensorRT's engine is there");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    const FULL: &str = r#"{
        "engine_cache": "FOLDER/engines", "timing_cache": "FOLDER/timings", "fp16": true,
        "shapes": { "vision_probe.onnx": {
            "min": "pixel_values:1x3x224x224", "opt": "pixel_values:2x3x224x224", "max": "pixel_values:8x3x224x224"
        } }
    }"#;

    #[test]
    fn settings_become_the_providers_options() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let settings: TensorRt = serde_json::from_str(&FULL.replace("FOLDER", path)).unwrap();
        settings.check(Provider::TensorRt).unwrap();
        let network = |name: &str, content: &str| {
            let network = folder.path().join(name);
            std::fs::write(&network, content).unwrap();
            format!("{:?}", settings.options(&network).unwrap())
        };
        let options = network("vision_probe.onnx", "one");
        // The first 8 bytes of the SHA-256 of "one".
        let prefix = "vision_probe-7692c3ad3540bb80";
        for (key, value) in [
            ("trt_fp16_enable", "true"),
            ("trt_engine_cache_enable", "true"),
            ("trt_engine_cache_path", &format!("{path}/engines")),
            ("trt_engine_cache_prefix", prefix),
            ("trt_timing_cache_enable", "true"),
            ("trt_timing_cache_path", &format!("{path}/timings")),
            ("trt_profile_min_shapes", "pixel_values:1x3x224x224"),
            ("trt_profile_opt_shapes", "pixel_values:2x3x224x224"),
            ("trt_profile_max_shapes", "pixel_values:8x3x224x224"),
        ] {
            let pair = format!("\"{key}\": \"{value}\"");
            assert!(options.contains(&pair), "{pair}: {options}");
        }
        assert!(!network("vision_probe.onnx", "two").contains(prefix));
        let other = network("vision_trunk.onnx", "one");
        assert!(
            other.contains("trt_fp16_enable") && !other.contains("trt_profile"),
            "{other}"
        );
        let plain = format!(
            "{:?}",
            TensorRt::default()
                .options(Path::new("absent.onnx"))
                .unwrap()
        );
        assert!(!plain.contains("cache"), "{plain}");
        for made in ["engines", "timings"] {
            assert!(folder.path().join(made).is_dir(), "{made}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let shapes = |min: &str, opt: &str, max: &str| {
            let (min, opt, max) = (min.to_owned(), opt.to_owned(), max.to_owned());
            let shapes = BTreeMap::from([("n.onnx".to_owned(), Shapes { min, opt, max })]);
            TensorRt {
                shapes,
                ..TensorRt::default()
            }
        };
        shapes("a:0x1,b::c:2", "a:1x2,b::c:2", "a:3x2,b::c:2")
            .check(Provider::Auto)
            .unwrap();
        for (settings, word) in [
            (shapes("a", "a:1", "a:1"), "`a`, which is not of the form"),
            (shapes("a:1", "a:x", "a:1"), "`a:x`"),
            (shapes("a:1", "a:1", "a:99999999"), "a:99999999"),
            (shapes("a:1,a:1", "a:1", "a:1"), "`a` twice"),
            (shapes("a\0:1", "a:1", "a:1"), "a\\0:1"),
            (
                shapes("a:1", "a:1,b:1", "a:1,b:1"),
                "other inputs in min and opt",
            ),
            (
                shapes("a:1", "a:2", "a:1"),
                "does not grow from opt and max",
            ),
            (
                shapes("a:1x1", "a:1", "a:1"),
                "does not grow from min and opt",
            ),
            (
                TensorRt {
                    engine_cache: Some("".into()),
                    ..TensorRt::default()
                },
                "engine_cache",
            ),
            (
                TensorRt {
                    timing_cache: Some("a\0b".into()),
                    ..TensorRt::default()
                },
                "timing_cache",
            ),
        ] {
            let error = settings.check(Provider::Auto).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
        let text = FULL.replace("vision_probe.onnx", "vision_probe");
        let error = serde_json::from_str::<TensorRt>(&text)
            .unwrap()
            .check(Provider::Auto)
            .unwrap_err();
        assert!(error.to_string().contains("vision_probe"), "{error}");
        for other in [Provider::Cpu, Provider::Cuda] {
            let error = TensorRt::default().check(other).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{other}`: leave one out")),
                "{error}"
            );
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of `work`.
    fn logged(work: impl FnOnce()) -> String {
        let log = Log::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_opened_engine_is_told_of_and_a_run_only_if_it_took_so_long_that_one_was_built() {
        let network = Path::new("decoder.onnx");
        let ago = |building: Building<'static>, took| Building {
            begun: Instant::now().checked_sub(took).unwrap(),
            ..building
        };
        let opened = logged(|| Building::at_load(network).done());
        let lines: Vec<&str> = opened.lines().collect();
        assert!(
            lines.len() == 2 && lines.iter().all(|line| line.contains("decoder.onnx")),
            "{opened}"
        );
        assert!(
            lines[0].contains("it can take minutes") && lines[1].contains("seconds="),
            "{opened}"
        );

        let short = logged(|| ago(Building::at_run(network), LONG_RUN / 2).done());
        assert_eq!(short, "");
        let long = logged(|| ago(Building::at_run(network), LONG_RUN).done());
        assert!(
            long.contains("TensorRT's engine is there") && long.contains("seconds=2."),
            "{long}"
        );
    }
}
