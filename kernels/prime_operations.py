"""PRIME's three primitives and additive noise on real values, as steps of a block program.

Modas et al., "PRIME: A few primitives can boost robustness to common corruptions" (ECCV 2022, arXiv 2112.13547). Here every image
has draws of its own, the filter's delta is in its centre, and nothing larger than an image is ever stored: frequencies are
summed as they come, and random coefficients are a function of a counter (Philox4x32-10). Values are on the scale of 0..255.
"""

from __future__ import annotations

import math

import numpy as np

from .block import Block, Function
from .prime_plan import LARGEST_CUT, PRIME_OPERATIONS

DIFFEOMORPHISM, COLOUR, FILTER, NOISE = (PRIME_OPERATIONS.index(name) for name in ("diffeomorphism", "colour", "filter", "noise"))
CHUNK = 1024  # pixels whose recurrences are held at a time

PI = np.float32(math.pi)
TWO = np.float32(2)
HALF = np.float32(0.5)
ONE = np.float32(1)
ZERO = np.float32(0)
WHITE = np.float32(255)
TO_UNIT = np.float32(1 / 255)
# Taylor coefficients of cos(x) and sin(x)/x in x²: for |x| <= pi/2 exact to float32.
C1, C2, C3, C4, C5, C6 = (np.float32((-1) ** n / math.factorial(2 * n)) for n in range(1, 7))
S1, S2, S3, S4, S5, S6 = (np.float32((-1) ** n / math.factorial(2 * n + 1)) for n in range(1, 7))
WORD = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


def table_size(channels: int, height: int, width: int) -> int:
    """Elements of float32 scratch: for the displacement fields and what they are made of, or for the colour recurrences."""
    fields = 2 * height * width + LARGEST_CUT * (height + 2 * width) + LARGEST_CUT**2
    return max(fields, 4 * CHUNK + LARGEST_CUT * channels)


def make_step(block: Block) -> Function:
    """Compile ``step`` (see ``era_body.make_views``) for one execution.

    Its args are float32 (2,), strength and cut; its words int64 (4,), the key and the upper half of the counter of its normal
    variates; scratch: float32 (``table_size``,).
    """
    at = block.index
    column, columns, row, rows, lane, lanes = block.column, block.columns, block.row, block.rows, block.lane, block.lanes
    barrier = block.barrier

    @block.compile
    def sine(v):
        """sin(pi v) for v in [-1/2, 1/2], to float32's relative precision."""
        x = v * PI
        y = x * x
        return x * (ONE + y * (S1 + y * (S2 + y * (S3 + y * (S4 + y * (S5 + y * S6))))))

    @block.compile
    def arch(v):
        """sin(pi v) for v in [0, 1]."""
        x = (v - HALF) * PI
        y = x * x
        return ONE + y * (C1 + y * (C2 + y * (C3 + y * (C4 + y * (C5 + y * C6)))))

    @block.compile
    def philox(c0, c1, c2, c3, k0, k1):
        """``philox.philox4x32`` for one counter; all words are uint64 below 2**32."""
        for _ in range(10):
            product_0, product_1 = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
            c0 = (product_1 >> HIGH) ^ c1 ^ k0
            c2 = (product_0 >> HIGH) ^ c3 ^ k1
            c1, c3 = product_1 & WORD, product_0 & WORD
            k0, k1 = (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD
        return c0, c1, c2, c3

    @block.compile
    def unit(word):
        """A word as float32 in (0, 1)."""
        return (np.float32(np.int32(word >> np.uint64(9))) + HALF) * np.float32(2.0**-23)

    @block.compile
    def pair(first, second):
        """Two independent normal variates from two words (Box and Muller, 1958)."""
        radius = np.float32(math.sqrt(np.float32(-2) * np.float32(math.log(unit(first)))))
        # Half a turn from 31 bits, the other half from the last one.
        turn = unit(second & np.uint64(0x7FFFFFFF)) * TWO
        if second >> np.uint64(31) == np.uint64(1):
            radius = -radius
        return radius * sine(HALF - turn), radius * arch(turn)

    @block.compile
    def normals(words, stream, array, start, count):
        """Standard normal variates into array[start : start + count] ; the streams of a step are independent."""
        k0, k1, c2, c3 = np.uint64(words[0]), np.uint64(words[1]), np.uint64(words[2]), np.uint64(words[3])
        for b in range(lane(), (count + 3) // 4, lanes()):
            w0, w1, w2, w3 = philox(np.uint64(b), np.uint64(stream), c2, c3, k0, k1)
            i = start + 4 * b
            one, other = pair(w0, w1)
            array[at(i)] = one
            if i + 1 < start + count:
                array[at(i + 1)] = other
            one, other = pair(w2, w3)
            if i + 2 < start + count:
                array[at(i + 2)] = one
            if i + 3 < start + count:
                array[at(i + 3)] = other

    @block.compile
    def sines(table, start, count, cut):
        """sin(pi k x) for k = 1 .. cut at ``count`` points x from 0 to 1, rows of k."""
        for k in range(row(), cut, rows()):
            for i in range(column(), count, columns()):
                phase = ((k + 1) * i) % (2 * max(1, count - 1))  # whole periods leave no rounding behind
                part = np.float32(phase) / np.float32(max(1, count - 1))
                table[at(start + k * count + i)] = arch(part) if part <= ONE else -arch(part - ONE)

    @block.compile
    def amplitudes(words, stream, table, cut, size):
        """Random coefficients of size × size modes, 1/r times a normal variate, none beyond the cut."""
        normals(words, stream, table, 0, size * size)
        barrier()
        limit = (np.float32(cut) + HALF) * (np.float32(cut) + HALF)
        for i in range(row(), size, rows()):
            for j in range(column(), size, columns()):
                square = np.float32((i + 1) * (i + 1) + (j + 1) * (j + 1))
                k = at(i * size + j)
                table[k] = table[k] / np.float32(math.sqrt(square)) if square < limit else ZERO
        barrier()

    @block.compile
    def combine(table, target, source, stride, w0, w1, w2, w3, count):
        """Add four weighted rows to a row."""
        s0, s1, s2, s3 = source, source + stride, source + 2 * stride, source + 3 * stride
        for x in range(column(), count, columns()):
            sum_01 = w0 * table[at(s0 + x)] + w1 * table[at(s1 + x)]
            sum_23 = w2 * table[at(s2 + x)] + w3 * table[at(s3 + x)]
            table[at(target + x)] += sum_01 + sum_23

    @block.compile
    def field(table, target, cut, height, width, strength):
        """A smooth random field of zero border, from the coefficients and sines at the start of the table."""
        waves_x = cut * cut
        waves_y = waves_x + cut * width
        partial = waves_y + cut * height
        for j in range(row(), cut, rows()):
            line = partial + j * width
            for x in range(column(), width, columns()):
                table[at(line + x)] = ZERO
            for i in range(0, cut, 4):
                w0, w1 = table[at(i * cut + j)], table[at((i + 1) * cut + j)]
                w2, w3 = table[at((i + 2) * cut + j)], table[at((i + 3) * cut + j)]
                combine(table, line, waves_x + i * width, width, w0, w1, w2, w3, width)
        barrier()
        for y in range(row(), height, rows()):
            line = target + y * width
            for x in range(column(), width, columns()):
                table[at(line + x)] = ZERO
            for j in range(0, cut, 4):
                w0, w1 = table[at(waves_y + j * height + y)], table[at(waves_y + (j + 1) * height + y)]
                w2, w3 = table[at(waves_y + (j + 2) * height + y)], table[at(waves_y + (j + 3) * height + y)]
                combine(
                    table, line, partial + j * width, width, strength * w0, strength * w1, strength * w2, strength * w3, width
                )
        barrier()

    @block.compile
    def diffeomorphism(source, target, table, words, strength, cut, channels, height, width):
        """Each pixel from where two smooth fields point to; bilinear, clamped to the image."""
        pixels = height * width
        size = (cut + 3) // 4 * 4  # rows are combined by fours
        move_x = size * (size + 2 * width + height)
        move_y = move_x + pixels
        sines(table, size * size, width, size)
        sines(table, size * size + size * width, height, size)
        amplitudes(words, 0, table, cut, size)
        field(table, move_x, size, height, width, strength * np.float32(width))
        amplitudes(words, 1, table, cut, size)
        field(table, move_y, size, height, width, strength * np.float32(height))
        for y in range(row(), height, rows()):
            for x in range(column(), width, columns()):
                i = y * width + x
                source_x = min(max(np.float32(x) - table[at(move_x + i)], ZERO), np.float32(width - 1))
                source_y = min(max(np.float32(y) - table[at(move_y + i)], ZERO), np.float32(height - 1))
                left, top = np.int32(source_x), np.int32(source_y)
                part_x, part_y = source_x - np.float32(left), source_y - np.float32(top)
                right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
                for c in range(channels):
                    upper, under = c * pixels + top * width, c * pixels + bottom * width
                    a, b = source[at(upper + left)], source[at(upper + right)]
                    d, e = source[at(under + left)], source[at(under + right)]
                    a, d = a + (b - a) * part_x, d + (e - d) * part_x
                    target[at(c * pixels + i)] = a + (d - a) * part_y

    @block.compile
    def colour(source, target, table, words, strength, cut, channels, pixels):
        """v + strength · sum_k c_k sin(pi k v), clamped.

        The sum by Clenshaw's recurrence in Reinsch's form, two frequencies at a time. That form is exact near 0; values
        above 1/2 are mirrored there, which turns the sign of even frequencies.
        """
        coefficients = 4 * CHUNK
        normals(words, 0, table, coefficients, channels * cut)
        barrier()
        for c in range(channels):
            lowest = coefficients + c * cut
            for start in range(c * pixels, (c + 1) * pixels, CHUNK):
                count = min(CHUNK, (c + 1) * pixels - start)
                first = table[at(lowest + cut - 1)] if cut % 2 == 1 else ZERO
                for i in range(lane(), count, lanes()):
                    value = source[at(start + i)] * TO_UNIT
                    mirrored = value > HALF
                    half_sine = sine(HALF * (ONE - value if mirrored else value))
                    table[at(i)] = np.float32(-4) * half_sine * half_sine
                    table[at(CHUNK + i)] = -ONE if mirrored else ONE
                    table[at(2 * CHUNK + i)] = first
                    table[at(3 * CHUNK + i)] = first
                for k in range(cut - cut % 2, 0, -2):
                    even, odd = table[at(lowest + k - 1)], table[at(lowest + k - 2)]
                    for i in range(lane(), count, lanes()):
                        delta, total, change = table[at(i)], table[at(2 * CHUNK + i)], table[at(3 * CHUNK + i)]
                        change = change + delta * total + even * table[at(CHUNK + i)]
                        total = total + change
                        change = change + delta * total + odd
                        table[at(2 * CHUNK + i)] = total + change
                        table[at(3 * CHUNK + i)] = change
                for i in range(lane(), count, lanes()):
                    value = source[at(start + i)]
                    part = value * TO_UNIT
                    wave = table[at(2 * CHUNK + i)] * sine(ONE - part if part > HALF else part)
                    target[at(start + i)] = min(max(value + WHITE * strength * wave, ZERO), WHITE)
        barrier()

    @block.compile
    def filtered(source, target, table, words, strength, channels, height, width):
        """A 3×3 filter, the identity and noise, black outside, clamped."""
        normals(words, 0, table, 0, 9)
        barrier()
        w3, w4, w5 = table[3] * strength, table[4] * strength + ONE, table[5] * strength
        for r in range(row(), channels * height, rows()):
            y = r % height
            start = r * width
            # The rows beyond the border weigh nothing.
            up, down = strength if y > 0 else ZERO, strength if y < height - 1 else ZERO
            w0, w1, w2 = table[0] * up, table[1] * up, table[2] * up
            w6, w7, w8 = table[6] * down, table[7] * down, table[8] * down
            over, under = start - width if y > 0 else start, start + width if y < height - 1 else start
            for x in range(1 + column(), width - 1, columns()):
                above = w0 * source[at(over + x - 1)] + w1 * source[at(over + x)] + w2 * source[at(over + x + 1)]
                beside = w3 * source[at(start + x - 1)] + w4 * source[at(start + x)] + w5 * source[at(start + x + 1)]
                below = w6 * source[at(under + x - 1)] + w7 * source[at(under + x)] + w8 * source[at(under + x + 1)]
                target[at(start + x)] = min(max(above + beside + below, ZERO), WHITE)
            for edge in range(column(), min(2, width), columns()):
                x = edge * (width - 1)
                value = w1 * source[at(over + x)] + w4 * source[at(start + x)] + w7 * source[at(under + x)]
                if x > 0:
                    value += w0 * source[at(over + x - 1)] + w3 * source[at(start + x - 1)] + w6 * source[at(under + x - 1)]
                if x < width - 1:
                    value += w2 * source[at(over + x + 1)] + w5 * source[at(start + x + 1)] + w8 * source[at(under + x + 1)]
                target[at(start + x)] = min(max(value, ZERO), WHITE)
        barrier()

    @block.compile
    def noise(source, target, words, strength, size):
        normals(words, 0, target, 0, size)
        barrier()
        for i in range(lane(), size, lanes()):
            target[at(i)] = min(max(source[at(i)] + WHITE * strength * target[at(i)], ZERO), WHITE)

    @block.compile
    def step(op, args, words, source, target, table, counts, channels, height, width):
        pixels = height * width
        strength, cut = args[0], int(args[1])
        if op < 0:
            return False
        if op == DIFFEOMORPHISM:
            diffeomorphism(source, target, table, words, strength, cut, channels, height, width)
        elif op == COLOUR:
            colour(source, target, table, words, strength, cut, channels, pixels)
        elif op == FILTER:
            filtered(source, target, table, words, strength, channels, height, width)
        else:
            noise(source, target, words, strength, channels * pixels)
        return True

    return step
