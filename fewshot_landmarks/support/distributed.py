"""Processes that train together, on one machine or several: what `torchrun` starts."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from fewshot_landmarks.support.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process's number among those that train together. Alone, it does nothing."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, things: Sequence) -> Sequence:
        """This process's part of some things."""
        return things[self.rank :: self.count]

    def add_up(self, tensors: Sequence) -> None:
        """Replace each tensor by its sum over the processes, which all must call this."""
        if self.count == 1:
            return
        whole = torch.cat([tensor.flatten() for tensor in tensors])
        with together():
            dist.all_reduce(whole)
        parts = whole.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts):
            tensor.copy_(part.view_as(tensor))

    def gather(self, thing: object) -> list:
        """What every process brings, in the order of ranks. Also a point that all wait for."""
        if self.count == 1:
            return [thing]
        found: list = [None] * self.count
        with together():
            dist.all_gather_object(found, thing)
        return found

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process goes through the block, then all others: they find what it made."""
        if not self.first and (told := self.gather(None)[0]) is not None:
            raise UserError(f"the first process stopped: {told}")
        try:
            yield
        except BaseException as error:
            if self.first:
                self.gather(str(error) or type(error).__name__)
            raise
        if self.first:
            self.gather(None)


ALONE = Ranks()


@contextmanager
def together() -> Iterator[None]:
    """Turn the end of another process into a `UserError`."""
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's, whose texts differ
        raise UserError(
            "a process that trained with this one ended or cannot be reached "
            f"({' '.join(str(error).split())[:80]}): run the same torchrun command again, it goes "
            "on from the last checkpoint"
        ) from error


def join(device: str) -> Ranks:
    """Join the processes that torchrun started; `ALONE` where it did not."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return ALONE
    if device.startswith("cuda"):
        if device != "cuda":
            raise UserError(f"--device {device}: under torchrun each process takes its own: cuda")
        if (local := int(os.environ["LOCAL_RANK"])) >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine finds {torch.cuda.device_count()} GPUs: give "
                "torchrun --nproc-per-node that many at most"
            )
        torch.cuda.set_device(local)
    try:
        # Others wait for the first to store crops, and at the end for the slowest: without a
        # limit, since torchrun ends all when one has died.
        dist.init_process_group(
            "nccl" if device.startswith("cuda") else "gloo", timeout=timedelta(days=30)
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot join the other processes ({' '.join(str(error).split())[:80]}): start them "
            "with torchrun, or unset WORLD_SIZE"
        ) from None
    return Ranks(dist.get_rank(), dist.get_world_size())


def local_device(device: str) -> str:
    """This process's own of a machine's GPUs; "cpu" as it is."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device


def leave() -> None:
    """Part from the others, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
