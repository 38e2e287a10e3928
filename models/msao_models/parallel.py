"""Training on all GPUs of a machine: the same program runs once for each, and gradients are averaged.

Started by itself a program trains on one device; `torchrun --nproc-per-node N` starts N of it.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def start() -> torch.device:
    """Joins the other processes, if there are any; the device of this one."""
    here = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(here)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=5))
    return torch.device("cuda", here) if cuda else torch.device("cpu")


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def average(parameters: list[Tensor]) -> None:
    """Replaces gradients by their mean over the processes; what has none counts as zero."""
    if not dist.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


def agree(value: float, device: torch.device) -> float:
    """The first process's value, for all."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return shared.item()
