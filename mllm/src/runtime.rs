//! ONNX Runtime: loading its shared library, and opening networks on an execution provider.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::{Deserialize, Serialize};

use crate::tensorrt::{self, Building};
use crate::{Error, Result};

/// Environment variable holding the path of ONNX Runtime's shared library.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// ONNX Runtime as loaded into this process.
#[derive(Debug)]
pub struct Runtime {
    library: PathBuf,
    environment: Environment,
}

impl Runtime {
    /// The shared library that was loaded.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Version, commit and compiler flags, as the library reports them.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// Loads ONNX Runtime into the process, once: later calls return what the first successful one loaded.
///
/// `library` is the path of `libonnxruntime.so`; `None` takes `ORT_DYLIB_PATH` or, without it, the first
/// `libonnxruntime.so` beside the executable or on the system's library path. Loading any network does this with
/// `None` if it has not been done.
///
/// # Errors
/// [`Error::Runtime`] if the library is missing, is not ONNX Runtime, or is older than 1.24.
pub fn init(library: Option<&Path>) -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());

    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let library = match library {
        Some(path) => existing(path)?,
        None => match std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()) {
            Some(path) => existing(Path::new(&path))?,
            None => PathBuf::from("libonnxruntime.so"),
        },
    };
    let failed = |reason: String| Error::Runtime {
        library: library.clone(),
        reason,
    };
    let environment = ort::init_from(&library)
        .map_err(|error| failed(error.to_string()))?
        .with_name("msao")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), "ONNX Runtime loaded");
    Ok(RUNTIME.get_or_init(|| Runtime {
        library,
        environment,
    }))
}

/// The absolute path of a library that exists: the loader resolves a relative one against the executable's folder.
fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| Error::Runtime {
        library: path.to_path_buf(),
        reason: error.to_string(),
    })
}

/// What ONNX Runtime fails at comes back as an error, and is logged or returned where it is handled; here it is only
/// a detail.
fn log(_: LogLevel, category: &str, _: &str, location: &str, message: &str) {
    tracing::debug!(target: "onnxruntime", category, location, "{message}");
}

/// What runs a network.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The first of TensorRT, CUDA and CPU that works; the log says which.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by CUDA, with TF32 off.
    Cuda,
    /// An NVIDIA GPU by TensorRT; what TensorRT can't run goes to CUDA.
    TensorRt,
}

impl Provider {
    /// What must be installed for it.
    pub(crate) fn mend(self) -> &'static str {
        match self {
            Self::Auto | Self::Cpu => "restore ONNX Runtime (`make setup` fetches it)",
            Self::Cuda => {
                "set ORT_DYLIB_PATH to the libonnxruntime.so of onnxruntime-gpu, with libonnxruntime_providers_cuda.so beside it, \
                 and LD_LIBRARY_PATH to the folders of CUDA and cuDNN"
            }
            Self::TensorRt => {
                "set ORT_DYLIB_PATH to the libonnxruntime.so of onnxruntime-gpu, with libonnxruntime_providers_tensorrt.so beside it, \
                 and LD_LIBRARY_PATH to the folders of TensorRT 10 (libnvinfer.so.10), CUDA and cuDNN"
            }
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        })
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "tensorrt" => Ok(Self::TensorRt),
            _ => Err(format!(
                "unknown provider `{text}`: it is `auto`, `cpu`, `cuda` or `tensorrt`"
            )),
        }
    }
}

/// How to run a model's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What runs them.
    pub provider: Provider,
    /// Threads within an operator on the CPU; 0 is one for each core. The default is 1: streams run side by side, and
    /// networks this small gain little from more.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Provider::default().into()
    }
}

impl From<Provider> for Options {
    fn from(provider: Provider) -> Self {
        Self {
            provider,
            threads: 1,
        }
    }
}

/// Opens the network in `path`; also says which provider runs it, never [`Provider::Auto`].
pub(crate) fn open(path: &Path, options: Options) -> Result<(Session, Provider)> {
    let runtime = init(None)?;
    if let Err(error) = std::fs::File::open(path) {
        return Err(Error::broken(path, format!("cannot be read: {error}")));
    }
    let candidates: &[Provider] = match options.provider {
        Provider::Auto => &[Provider::TensorRt, Provider::Cuda, Provider::Cpu],
        Provider::Cpu => &[Provider::Cpu],
        Provider::Cuda => &[Provider::Cuda],
        Provider::TensorRt => &[Provider::TensorRt],
    };
    let mut last = None;
    for &provider in candidates {
        match open_on(runtime, path, provider, options.threads) {
            Ok(session) => {
                tracing::info!(network = %path.display(), %provider, "network loaded");
                return Ok((session, provider));
            }
            Err(error @ Error::Provider { .. }) => {
                tracing::debug!(%error, "provider passed over");
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::broken(path, "no provider to run it")))
}

fn open_on(runtime: &Runtime, path: &Path, provider: Provider, threads: usize) -> Result<Session> {
    let unavailable = |said: String| Error::Provider {
        provider,
        path: path.to_path_buf(),
        reason: reason(&said).to_owned(),
    };
    // TF32 rounds products to 10 bits, and then one batched pass and single steps no longer choose alike. Trying all
    // algorithms of a convolution, which is ONNX Runtime's default, takes long for each new size of a picture.
    let cuda = || {
        let cuda = ep::CUDA::default().with_tf32(false);
        let search = ep::cuda::ConvAlgorithmSearch::Heuristic;
        cuda.with_conv_algorithm_search(search).build()
    };
    let providers = match provider {
        Provider::Auto | Provider::Cpu => vec![],
        Provider::Cuda => vec![cuda().error_on_failure()],
        Provider::TensorRt => {
            let tensorrt = tensorrt::provider(path)?;
            vec![tensorrt.build().error_on_failure(), cuda()]
        }
    };
    let mut builder = builder(runtime, threads)
        .map_err(|error| unavailable(error.to_string()))?
        .with_execution_providers(providers)
        .map_err(|error| unavailable(error.to_string()))?;
    let building = (provider == Provider::TensorRt).then(|| Building::at_load(path));
    let session = builder
        .commit_from_file(path)
        .map_err(|error| match provider {
            Provider::Auto | Provider::Cpu => {
                Error::broken(path, format!("is not an ONNX network: {error}"))
            }
            // A corrupt file fails on every provider: only the CPU's word settles whose fault it is.
            Provider::Cuda | Provider::TensorRt => {
                match open_on(runtime, path, Provider::Cpu, threads) {
                    Ok(_) => unavailable(error.to_string()),
                    Err(corrupt) => corrupt,
                }
            }
        })?;
    building.into_iter().for_each(Building::done);
    Ok(session)
}

/// A network that is open in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its file.
    pub network: PathBuf,
    /// What runs it: never [`Provider::Auto`].
    pub provider: Provider,
}

static RUNNING: Mutex<Vec<(u64, Running)>> = Mutex::new(Vec::new());

/// The networks that are open in this process, in the order in which they were opened.
pub fn running() -> Vec<Running> {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.iter().map(|(_, running)| running.clone()).collect()
}

/// What runs the networks of this process: one provider, or several with commas, GPUs first; `none` if no network is open.
pub fn providers() -> String {
    let mut found: Vec<Provider> = running().iter().map(|running| running.provider).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    let names: Vec<String> = found.iter().map(Provider::to_string).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// Keeps a network among those that are [`running`].
#[derive(Debug)]
pub(crate) struct Open(u64);

impl Open {
    pub fn new(network: &Path, provider: Provider) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = running.last().map_or(0, |(id, _)| id + 1);
        let network = network.to_path_buf();
        running.push((id, Running { network, provider }));
        Self(id)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(id, _)| *id != self.0);
    }
}

/// The words of ONNX Runtime's error that tell why, without its place in the source and its code.
fn reason(said: &str) -> &str {
    let words = said
        .rsplit_once(" : FAIL : ")
        .map_or(said, |(_, words)| words);
    words.trim().trim_end_matches('.')
}

fn builder(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?;
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_the_reason_is_left() {
        let said = "/src/provider_bridge_ort.cc:2043 onnxruntime::Provider& Get() [ONNXRuntimeError] : 1 : FAIL : \
                    Failed to load library /lib/libonnxruntime_providers_tensorrt.so with error: libnvinfer.so.10: cannot open shared object file\n";
        let words = "Failed to load library /lib/libonnxruntime_providers_tensorrt.so with error: libnvinfer.so.10: cannot open shared object file";
        assert_eq!(reason(said), words);
        assert_eq!(
            reason("CUDA is not enabled in this build."),
            "CUDA is not enabled in this build"
        );
    }

    #[test]
    fn provider_names_round_trip() {
        for provider in [
            Provider::Auto,
            Provider::Cpu,
            Provider::Cuda,
            Provider::TensorRt,
        ] {
            let name = provider.to_string();
            assert_eq!(name.parse::<Provider>(), Ok(provider));
            assert_eq!(
                serde_json::to_string(&provider).unwrap(),
                format!("\"{name}\"")
            );
        }
        // `providers` goes by it.
        assert!(Provider::Cpu < Provider::Cuda && Provider::Cuda < Provider::TensorRt);
        let error = "gpu".parse::<Provider>().unwrap_err();
        assert!(error.contains("`gpu`") && error.contains("tensorrt"));
    }
}
