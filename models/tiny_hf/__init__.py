"""Tiny models with random weights, in the layouts of Hugging Face's ONNX exports, and what PyTorch makes of them."""
