"""The whole augmentation of one image, written once: load, chains of operations, mix, normalise, write all views.

AugMix (Hendrycks et al., ICLR 2020, algorithm 1): ``view = (1 - m) · clean + m · Σ_k w_k · chain_k(clean)``. What an operation
does to a chain is left to ``step``, so that AugMix's operations on 256 levels and PRIME's on real values share this body.
"""

from __future__ import annotations

import numpy as np

from .block import Block, Function
from .frame import make_crop_flip

WHITE = np.float32(255)


def make_views(block: Block, step: Function) -> Function:
    """Compile the body for one execution and one family of operations.

    Args:
        block: the primitives.
        step: compiled ``step(op, args, words, source, target, table, counts, channels, height, width) -> bool``: writes
            ``target`` from ``source`` and tells whether it did; where the operation changes nothing it may just say no.

    Returns:
        compiled ``views(n, images, ops, args, words, chain_weights, mix, crop, flip, mean, std, clean, first, second, total,
        table, counts, out, channels, height, width, channels_last)``, which does image n. With V augmented views, W chains
        of D steps and J = V + 1: images uint8 (B, C·H·W); ops int32 (B, V·W·D), args float32 (B, V·W·D, P), words int64
        (B, V·W·D, Q); chain_weights float32 (B, V, W); mix float32 (B, V); crop int32 (B, 2); flip bool (B,); mean, std
        float32 (C,) on the scale of 0..255; out flat (J·B·C·H·W,). Scratch of C·H·W elements: clean, first and second in
        the type of the operations, total float32 (not used where W = 1); table and counts as the operations need them.
    """
    at, lane, lanes, barrier, store = block.index, block.lane, block.lanes, block.barrier, block.store
    load = make_crop_flip(block)

    @block.compile
    def accumulate(clean, clean_weight, chain, chain_weight, total, first, size):
        """Add a chain to the mixture; the first one brings the clean image along."""
        if first:
            for i in range(lane(), size, lanes()):
                total[at(i)] = np.float32(clean[at(i)]) * clean_weight + np.float32(chain[at(i)]) * chain_weight
        else:
            for i in range(lane(), size, lanes()):
                total[at(i)] = total[at(i)] + np.float32(chain[at(i)]) * chain_weight

    @block.compile
    def write(base, base_weight, chain, chain_weight, mean, std, out, start, channels, height, width, channels_last):
        """The last chain added to what there is, normalised, into one view."""
        size = height * width
        if channels_last and channels == 3:
            mean_0, mean_1, mean_2, std_0, std_1, std_2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
            for i in range(lane(), size, lanes()):
                j, k = i + size, i + size + size
                value_0 = min(np.float32(base[at(i)]) * base_weight + np.float32(chain[at(i)]) * chain_weight, WHITE)
                value_1 = min(np.float32(base[at(j)]) * base_weight + np.float32(chain[at(j)]) * chain_weight, WHITE)
                value_2 = min(np.float32(base[at(k)]) * base_weight + np.float32(chain[at(k)]) * chain_weight, WHITE)
                store(out, np.uint64(start + 3 * i), (value_0 - mean_0) / std_0)
                store(out, np.uint64(start + 3 * i + 1), (value_1 - mean_1) / std_1)
                store(out, np.uint64(start + 3 * i + 2), (value_2 - mean_2) / std_2)
            return
        stride = channels if channels_last else 1
        for c in range(channels):
            source = c * size
            target = start + (c if channels_last else source)
            shift, scale = mean[c], std[c]
            if stride == 1:
                for i in range(lane(), size, lanes()):
                    k = at(source + i)
                    value = min(np.float32(base[k]) * base_weight + np.float32(chain[k]) * chain_weight, WHITE)
                    store(out, np.uint64(target + i), (value - shift) / scale)
            else:
                for i in range(lane(), size, lanes()):
                    k = at(source + i)
                    value = min(np.float32(base[k]) * base_weight + np.float32(chain[k]) * chain_weight, WHITE)
                    store(out, np.uint64(target + i * stride), (value - shift) / scale)

    @block.compile
    def views(
        n, images, ops, args, words, chain_weights, mix, crop, flip, mean, std,
        clean, first, second, total, table, counts, out, channels, height, width, channels_last,
    ):  # fmt: skip
        batch, extra, chains = chain_weights.shape
        depth = ops.shape[1] // max(1, extra * chains)
        size = channels * height * width
        one, none = np.float32(1), np.float32(0)
        load(images[n], clean, crop[n, 0], crop[n, 1], flip[n], channels, height, width)
        barrier()
        write(clean, one, clean, none, mean, std, out, n * size, channels, height, width, channels_last)
        for view in range(extra):
            start = ((view + 1) * batch + n) * size
            for chain in range(chains):
                source, target, untouched = clean, first, True
                for d in range(depth):
                    s = (view * chains + chain) * depth + d
                    if step(ops[n, s], args[n, s], words[n, s], source, target, table, counts, channels, height, width):
                        if untouched:
                            source, target, untouched = first, second, False
                        else:
                            source, target = target, source
                    barrier()
                weight = mix[n, view] * chain_weights[n, view, chain]
                if chains == 1:
                    write(
                        clean, one - mix[n, view], source, weight, mean, std, out, start, channels, height, width, channels_last
                    )
                elif chain < chains - 1:
                    accumulate(clean, one - mix[n, view], source, weight, total, chain == 0, size)
                else:
                    write(total, one, source, weight, mean, std, out, start, channels, height, width, channels_last)
                barrier()
        barrier()  # a block may go on to another image in the same scratch

    return views
