"""Runs llama.cpp's server with the models of testdata/tiny_gguf, under the name `tiny` and the key of MODEL_KEY, on a free
port of this machine; prints its URL, and ends with its standard input.

    PYTHONPATH=.cache/llama MODEL_KEY=... python3 models/tiny_gguf/serve.py testdata/tiny_gguf
"""

import os
import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = f"{sys.argv[1]}/model.gguf"
parameters.mmproj.path = f"{sys.argv[1]}/mmproj.gguf"
parameters.model_alias = {"tiny"}
parameters.api_keys = [os.environ["MODEL_KEY"]]
parameters.n_gpu_layers = 0
parameters.cpuparams.n_threads = 1
parameters.n_ctx = 4096
parameters.n_parallel = 4
parameters.warmup = False
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
# The server's threads do not end by themselves.
os._exit(0)
