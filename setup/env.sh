# Sourced: lets gst-launch-1.0, gst-inspect-1.0 and the programs of this tree find what `make setup` and
# `make plugin` put in place.
msao_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
export ORT_DYLIB_PATH="$msao_root/.cache/onnxruntime/libonnxruntime.so"
export NATS_SERVER="$msao_root/.cache/bin/nats-server"
export MSAO_VAD_MODEL="$msao_root/.cache/models/silero_vad.onnx"
export MSAO_MODEL_DIR="$msao_root/testdata/models/msao-edge"
export GST_PLUGIN_PATH="$msao_root/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
unset msao_root
