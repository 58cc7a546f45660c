"""Passes that the processes of a crew share: the owner deals the rows, and gets sums and outputs back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.network import Network
from worker.crew.member import Member
from worker.crew.orders import Turn, described, dtype_of
from worker.crew.share import SharedNoise
from worker.crew.statistics import shared_statistics
from worker.rows import Batch
from worker.training.gradient import Gradient, Pass


class SharedGradient:
    """A `Gradient` whose rows several processes share: to rounding, what one of them would give for all rows.

    A process's loss is the mean over its rows, and counts by their share of all rows, as the batches of an accumulated
    step do; so do its penalties, which come to one in all. Only the owner knows weights, and has them sent with the
    first pass of every step: those that learn, and at first all.
    """

    def __init__(self, own: Gradient, network: Network, noise: SharedNoise, member: Member) -> None:
        self._own, self._network, self._noise, self._member = own, network, noise, member
        noise.share = member.share
        self._sent = False

    def begin(self) -> None:
        """Look at the network anew: parts of it may be in another mode than before, or frozen."""
        self._own.begin()

    @property
    def replays(self) -> bool:
        """True when this process's part of passes like those so far is replayed."""
        return self._own.replays

    @property
    def compiled(self) -> bool:
        """False: passes that processes share are not compiled."""
        return self._own.compiled

    @property
    def compile_failure(self) -> str | None:
        """None, for the same reason."""
        return self._own.compile_failure

    def __call__(self, batch: Batch, share: float = 1.0) -> Pass:
        """As the owner, return the pass of these rows, which are a `share` of a step."""
        self._member.share.deal(len(batch))
        if self._member.share.alone:
            return self._own(batch, share)
        with self._member.together():
            return self._led(batch, share)

    def follow(self, turn: Turn) -> None:
        """As a helper, do what the owner asks for."""
        self._noise.step, self._noise.part = turn.step, turn.part
        self._member.share.deal(turn.rows)
        group, own = self._member.group, self._member.share.own
        if turn.part == 0:
            self._take_weights(turn.everything)
        count = own.stop - own.start
        parts = [group.receive([count, *shape], dtype_of(name), 0) for shape, name in turn.tensors]
        found = self._part(Batch(*parts), turn.share * count / turn.rows)
        group.send(found.output.contiguous(), 0)
        group.total(_flat(_summed(found)))

    def _led(self, batch: Batch, share: float) -> Pass:
        member, group, noise = self._member, self._member.group, self._noise
        fields = (batch.x, batch.y, batch.weight, batch.y_other, batch.weight_other)
        parts = [part.contiguous() for part in fields if part is not None]
        member.tell(Turn(noise.step, noise.part, share, len(batch), not self._sent, described(parts)))
        if noise.part == 0:
            group.spread(_flat(self._weights(not self._sent)))
            self._sent = True
        counts = member.share.counts()
        for rank in range(1, group.size):
            for part in parts:
                group.send(part[member.share.of(rank)], rank)
        found = self._part(batch[member.share.own], share * counts[0] / len(batch))
        output = found.output
        others = [group.receive([counts[rank], *output.shape[1:]], output.dtype, rank) for rank in range(1, group.size)]
        sums = _flat(_summed(found))
        group.total(sums)
        _put(sums, _summed(found))
        return found._replace(output=torch.cat([output, *others]))

    def _part(self, batch: Batch, share: float) -> Pass:
        """Return the pass of this process's rows."""
        with shared_statistics(self._network, self._member):
            return self._own(batch, share)

    def _weights(self, everything: bool) -> list[Tensor]:
        """Return what is sent: in later steps what learns now, for nothing else moves that a pass looks at."""
        weights = [weight.detach() for weight in self._network.parameters() if everything or weight.requires_grad]
        statistics = [buffer for buffer in self._network.buffers() if everything and buffer.is_floating_point()]
        return weights + statistics

    def _take_weights(self, everything: bool) -> None:
        weights = self._weights(everything)
        values = torch.empty(sum(w.numel() for w in weights), dtype=weights[0].dtype, device=weights[0].device)
        self._member.group.spread(values)
        _put(values, weights)


def _summed(found: Pass) -> list[Tensor]:
    """Return what is added up over the processes."""
    return [found.loss, found.whole, *(gradient for gradient in found.gradients if gradient is not None)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def _put(values: Tensor, tensors: Sequence[Tensor]) -> None:
    """Put values from `_flat` into tensors of the same shapes."""
    pieces = torch.split(values, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [piece.view(t.shape) for piece, t in zip(pieces, tensors, strict=True)])
