//! One ONNX network with a checked signature.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, TensorValueType, ValueType,
};

use crate::runtime::{self, Open};
use crate::tensorrt::Building;
use crate::{Error, Options, Provider, Result};

/// Named inputs of a run.
pub(crate) type Inputs<'v> = Vec<(Cow<'v, str>, SessionInputValue<'v>)>;

/// An input or output that a network must have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Port {
    pub name: String,
    pub dtype: TensorElementType,
    /// -1: the network must leave this dimension open. Other sizes: it must be open or exactly this.
    pub shape: Vec<i64>,
}

impl Port {
    pub(crate) fn f32(name: impl Into<String>, shape: impl Into<Vec<i64>>) -> Self {
        Self::new(name, TensorElementType::Float32, shape)
    }

    pub(crate) fn i64(name: impl Into<String>, shape: impl Into<Vec<i64>>) -> Self {
        Self::new(name, TensorElementType::Int64, shape)
    }

    /// One i64 without dimensions.
    pub(crate) fn scalar(name: impl Into<String>) -> Self {
        Self::new(name, TensorElementType::Int64, Vec::new())
    }

    pub(crate) fn new(
        name: impl Into<String>,
        dtype: TensorElementType,
        shape: impl Into<Vec<i64>>,
    ) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.into(),
        }
    }

    fn fits(&self, declared: &ValueType) -> bool {
        let ValueType::Tensor { ty, shape, .. } = declared else {
            return false;
        };
        *ty == self.dtype
            && shape.len() == self.shape.len()
            && (self.shape.iter().zip(shape.iter()))
                .all(|(&expected, &declared)| declared < 0 || declared == expected)
    }
}

/// A network and the file it came from, which every error names.
#[derive(Debug)]
pub(crate) struct Network {
    session: Session,
    path: PathBuf,
    provider: Provider,
    _open: Open,
}

impl Network {
    /// Opens `path` and checks that its inputs are exactly `inputs` and that it has all `outputs`.
    pub(crate) fn load(
        path: &Path,
        options: Options,
        inputs: &[Port],
        outputs: &[Port],
    ) -> Result<Self> {
        let network = Self::open(path, options)?;
        network.expect(inputs, outputs)?;
        Ok(network)
    }

    /// Opens `path`, whatever its inputs and outputs are.
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self> {
        let (session, provider) = runtime::open(path, options)?;
        Ok(Self {
            session,
            path: path.to_path_buf(),
            provider,
            _open: Open::new(path, provider),
        })
    }

    /// Checks that its inputs are exactly `inputs` and that it has all `outputs`.
    pub(crate) fn expect(&self, inputs: &[Port], outputs: &[Port]) -> Result<()> {
        let (path, session) = (&self.path, &self.session);
        check(path, "input", session.inputs(), inputs)?;
        check(path, "output", session.outputs(), outputs)?;
        match (session.inputs().iter())
            .find(|declared| inputs.iter().all(|input| input.name != declared.name()))
        {
            Some(extra) => {
                let problem = format!("has an input `{}` that nothing fills", extra.name());
                Err(Error::broken(path, problem))
            }
            None => Ok(()),
        }
    }

    /// Type and shape of the input or output of this name, if it is a tensor.
    pub(crate) fn declared(&self, name: &str) -> Option<(TensorElementType, &[i64])> {
        let outlets = self.session.inputs().iter().chain(self.session.outputs());
        match outlets
            .into_iter()
            .find(|outlet| outlet.name() == name)?
            .dtype()
        {
            ValueType::Tensor { ty, shape, .. } => Some((*ty, shape)),
            _ => None,
        }
    }

    /// Names of its inputs.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &str> {
        self.session.inputs().iter().map(Outlet::name)
    }

    /// The provider that runs it.
    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// Whether it has an output of this name.
    pub(crate) fn gives(&self, output: &str) -> bool {
        self.session
            .outputs()
            .iter()
            .any(|outlet| outlet.name() == output)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the network.
    pub(crate) fn run(&mut self, inputs: Inputs<'_>) -> Result<SessionOutputs<'_>> {
        let path = &self.path;
        let building = building(path, self.provider);
        let outputs =
            (self.session.run(inputs)).map_err(|error| failed(path, error.to_string()))?;
        building.into_iter().for_each(Building::done);
        Ok(outputs)
    }

    /// Runs the network. The outputs `kept` stay in the memory of what runs it, for a later run to read them there; those
    /// to be `read` come to the CPU's. Gives both in their order.
    pub(crate) fn run_keeping<'n>(
        &mut self,
        inputs: Inputs<'_>,
        kept: impl Iterator<Item = &'n str> + Clone,
        read: &[&str],
    ) -> Result<(Vec<DynValue>, Vec<DynValue>)> {
        let path = &self.path;
        let bad = |error: ort::Error| failed(path, error.to_string());
        let memory = |device| {
            let (allocator, kind) = (AllocatorType::Device, MemoryType::Default);
            MemoryInfo::new(device, 0, allocator, kind).map_err(bad)
        };
        let own = match self.provider {
            Provider::Auto | Provider::Cpu => AllocationDevice::CPU,
            Provider::Cuda | Provider::TensorRt => AllocationDevice::CUDA,
        };
        let (own, host) = (memory(own)?, memory(AllocationDevice::CPU)?);
        let mut binding = self.session.create_binding().map_err(bad)?;
        for (name, value) in &inputs {
            binding.bind_input(name.as_ref(), value).map_err(bad)?;
        }
        for name in kept.clone() {
            binding.bind_output_to_device(name, &own).map_err(bad)?;
        }
        for &name in read {
            binding.bind_output_to_device(name, &host).map_err(bad)?;
        }
        let building = building(path, self.provider);
        let mut outputs = self.session.run_binding(&binding).map_err(bad)?;
        building.into_iter().for_each(Building::done);
        let mut take = |name: &str| {
            let value = outputs.remove(name);
            value.ok_or_else(|| failed(path, format!("gave no `{name}`")))
        };
        let kept = kept.map(&mut take).collect::<Result<_>>()?;
        Ok((
            kept,
            read.iter().map(|&name| take(name)).collect::<Result<_>>()?,
        ))
    }

    /// Runs the network and takes its only needed output.
    pub(crate) fn run_for(&mut self, inputs: Inputs<'_>, output: &str) -> Result<DynValue> {
        let value = self.run(inputs)?.remove(output);
        value.ok_or_else(|| failed(&self.path, format!("gave no `{output}`")))
    }
}

/// A run on TensorRT, which may build an engine.
fn building(path: &Path, provider: Provider) -> Option<Building<'_>> {
    (provider == Provider::TensorRt).then(|| Building::at_run(path))
}

/// A run's failure.
pub(crate) fn failed(path: &Path, reason: impl Into<String>) -> Error {
    Error::Inference {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

/// The elements of `value`, which must be f32 of exactly `shape`: what a network declares may leave sizes open, so
/// what it gives is checked too.
pub(crate) fn elements<'v>(
    path: &Path,
    name: &str,
    value: &'v DynValue,
    shape: &[usize],
) -> Result<&'v [f32]> {
    elements_of(path, name, value, shape)
}

/// As [`elements`], of type `T`.
pub(crate) fn elements_of<'v, T: PrimitiveTensorElementType>(
    path: &Path,
    name: &str,
    value: &'v DynValue,
    shape: &[usize],
) -> Result<&'v [T]> {
    let (given, data) = (value.try_extract_tensor::<T>())
        .map_err(|error| failed(path, format!("output `{name}`: {error}")))?;
    let expected: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    if **given != expected[..] {
        let (given, expected) = (describe_shape(given), describe_shape(&expected));
        let reason = format!("output `{name}` has shape {given}, expected {expected}");
        return Err(failed(path, reason));
    }
    Ok(data)
}

/// As [`elements`], of a value that may be in the memory of a device: from there it is copied.
pub(crate) fn fetched<'v>(
    path: &Path,
    name: &str,
    value: &'v DynValue,
    shape: &[usize],
) -> Result<Cow<'v, [f32]>> {
    fetched_of(path, name, value, shape)
}

/// As [`fetched`], of type `T`.
pub(crate) fn fetched_of<'v, T: PrimitiveTensorElementType + Clone + Debug>(
    path: &Path,
    name: &str,
    value: &'v DynValue,
    shape: &[usize],
) -> Result<Cow<'v, [T]>> {
    let bad = |error: ort::Error| failed(path, format!("output `{name}`: {error}"));
    let tensor = value.view().downcast::<TensorValueType<T>>().map_err(bad)?;
    if tensor.memory_info().is_cpu_accessible() {
        return elements_of(path, name, value, shape).map(Cow::from);
    }
    let copy = tensor.to(AllocationDevice::CPU, 0).map_err(bad)?.into_dyn();
    Ok(elements_of(path, name, &copy, shape)?.to_vec().into())
}

/// Whether `value`, wherever it is, is f32 of exactly `shape`.
pub(crate) fn check_shape(
    path: &Path,
    name: &str,
    value: &DynValue,
    shape: &[usize],
) -> Result<()> {
    check_tensor(path, name, value, TensorElementType::Float32, shape)
}

/// Whether `value`, wherever it is, is of exactly this type and shape.
pub(crate) fn check_tensor(
    path: &Path,
    name: &str,
    value: &DynValue,
    dtype: TensorElementType,
    shape: &[usize],
) -> Result<()> {
    let expected: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    match value.dtype() {
        ValueType::Tensor { ty, shape, .. } if *ty == dtype && **shape == expected[..] => Ok(()),
        given => {
            let expected = describe_tensor(dtype, &expected);
            let reason = format!(
                "output `{name}` is {}, expected {expected}",
                describe(given)
            );
            Err(failed(path, reason))
        }
    }
}

fn check(path: &Path, kind: &str, declared: &[Outlet], expected: &[Port]) -> Result<()> {
    for port in expected {
        let found = declared.iter().find(|outlet| outlet.name() == port.name);
        let problem = match found {
            Some(outlet) if port.fits(outlet.dtype()) => continue,
            Some(outlet) => format!(
                "{kind} `{}` is {}, expected {}",
                port.name,
                describe(outlet.dtype()),
                describe_tensor(port.dtype, &port.shape)
            ),
            None => format!(
                "has no {kind} `{}` ({})",
                port.name,
                describe_tensor(port.dtype, &port.shape)
            ),
        };
        return Err(Error::broken(path, problem));
    }
    Ok(())
}

fn describe(dtype: &ValueType) -> String {
    match dtype {
        ValueType::Tensor { ty, shape, .. } => describe_tensor(*ty, shape),
        other => format!("{other:?}"),
    }
}

fn describe_tensor(dtype: TensorElementType, shape: &[i64]) -> String {
    format!("{dtype} {}", describe_shape(shape))
}

fn describe_shape(shape: &[i64]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|&size| {
            if size < 0 {
                "?".into()
            } else {
                size.to_string()
            }
        })
        .collect();
    format!("[{}]", sizes.join(","))
}

#[cfg(test)]
mod tests {
    use ort::value::{Shape, SymbolicDimensions};

    use super::*;

    fn tensor(ty: TensorElementType, shape: &[i64]) -> ValueType {
        ValueType::Tensor {
            ty,
            shape: Shape::new(shape.iter().copied()),
            dimension_symbols: SymbolicDimensions::empty(shape.len()),
        }
    }

    #[test]
    fn a_port_takes_its_size_or_an_open_one() {
        let port = Port::f32("x", [1, -1, 256]);
        let f32 = TensorElementType::Float32;
        assert!(port.fits(&tensor(f32, &[-1, -1, 256])));
        assert!(port.fits(&tensor(f32, &[1, -1, -1])));
        for wrong in [&[1, 7, 256][..], &[-1, -1, 128], &[-1, 256]] {
            assert!(!port.fits(&tensor(f32, wrong)), "{wrong:?}");
        }
        assert!(!port.fits(&tensor(TensorElementType::Float16, &[-1, -1, 256])));
        assert!(!port.fits(&ValueType::Sequence(Box::new(tensor(f32, &[1])))));
    }

    #[test]
    fn only_a_run_on_tensorrt_may_build_an_engine() {
        let path = Path::new("decoder.onnx");
        for provider in [Provider::Auto, Provider::Cpu, Provider::Cuda] {
            assert!(building(path, provider).is_none(), "{provider}");
        }
        assert!(building(path, Provider::TensorRt).is_some());
    }

    #[test]
    fn descriptions_are_readable() {
        let port = Port::i64("x", [1, -1]);
        assert_eq!(describe_tensor(port.dtype, &port.shape), "i64 [1,?]");
    }
}
