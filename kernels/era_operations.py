"""AugMix's nine operations on 256 levels, as steps of a block program, with Pillow's semantics.

Operations are those of ``era_plan.OPERATIONS``. Geometric ones are affine maps in 32.32 fixed point: which pixels have
their source inside the image is then decided in integers, alike on every back end.
"""

from __future__ import annotations

import numpy as np

from .block import Block, Function
from .era_plan import OPERATIONS
from .frame import make_crop_flip

# 32.32 fixed point
FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS
HALF = ONE >> 1
MASK = ONE - 1
TO_FLOAT = np.float32(2.0**-24)  # of the upper 24 bits of a fraction, all that a float32 holds

AUTOCONTRAST, EQUALIZE, POSTERIZE, SOLARIZE = (
    OPERATIONS.index(name) for name in ("autocontrast", "equalize", "posterize", "solarize")
)
TABLE = 256  # entries a channel


def make_step(block: Block) -> Function:
    """Compile ``step`` (see ``era_body.make_views``) for one execution.

    Its args are float32 (1,), the argument of posterize and solarize; its words int64 (6,), the affine map of the others;
    scratch: uint8 tables (C·256,) and int32 counts (C·256,).
    """
    at = block.index
    column, columns, row, rows, lane, lanes = block.column, block.columns, block.row, block.rows, block.lane, block.lanes
    move = make_crop_flip(block)
    barrier, add, lower, raise_, multiply_add = block.barrier, block.add, block.lower, block.raise_, block.multiply_add
    between = block.blend

    @block.compile
    def autocontrast(source, table, counts, channels, pixels):
        """The table that stretches each channel from its (min, max) to (0, 255)."""
        for c in range(lane(), channels, lanes()):
            counts[2 * c], counts[2 * c + 1] = 255, 0
        barrier()
        for c in range(channels):
            low, high = np.uint8(255), np.uint8(0)
            for i in range(c * pixels + lane(), (c + 1) * pixels, lanes()):
                value = source[at(i)]
                if value < low:
                    low = value
                if value > high:
                    high = value
            lower(counts, 2 * c, np.int32(low))
            raise_(counts, 2 * c + 1, np.int32(high))
        barrier()
        for c in range(channels):
            low_level, high_level = counts[2 * c], counts[2 * c + 1]
            if high_level <= low_level:
                for i in range(lane(), TABLE, lanes()):
                    table[at(c * TABLE + i)] = i
            else:
                scale = 255.0 / np.float64(high_level - low_level)
                offset = -np.float64(low_level) * scale
                for i in range(lane(), TABLE, lanes()):
                    level = multiply_add(np.float64(i), scale, offset)
                    table[at(c * TABLE + i)] = np.uint8(np.int32(min(max(level, 0.0), 255.0)))
        barrier()

    @block.compile
    def equalize(source, table, counts, channels, pixels):
        """The table that spreads each channel's levels so that they are about equally frequent."""
        for i in range(lane(), channels * TABLE, lanes()):
            counts[at(i)] = 0
        barrier()
        for c in range(channels):
            for i in range(c * pixels + lane(), (c + 1) * pixels, lanes()):
                add(counts, at(c * TABLE) + at(source[at(i)]), 1)
        barrier()
        # In place: how many pixels lie below each level, and in the first place what the last level that occurs has.
        for c in range(lane(), channels, lanes()):
            start = c * TABLE
            below, last = np.int32(0), np.int32(0)
            for i in range(TABLE):
                count = counts[at(start + i)]
                counts[at(start + i)] = below
                below += count
                if count > 0:
                    last = count
            counts[at(start)] = last
        barrier()
        for c in range(channels):
            start = c * TABLE
            every = (pixels - counts[at(start)]) // 255
            if every == 0:
                for i in range(lane(), TABLE, lanes()):
                    table[at(start + i)] = i
            else:
                # Below 2**24 the quotient of float32 whole numbers, cut off, is the whole-number quotient.
                half, step = np.float32(every // 2), np.float32(every)
                for i in range(lane(), TABLE, lanes()):
                    below_level = np.float32(0) if i == 0 else np.float32(counts[at(start + i)])
                    table[at(start + i)] = np.uint8(min(np.int32((half + below_level) / step), 255))
        barrier()

    @block.compile
    def look_up(source, target, table, channels, pixels):
        for c in range(channels):
            for i in range(c * pixels + lane(), (c + 1) * pixels, lanes()):
                target[at(i)] = table[at(c * TABLE) + at(source[at(i)])]

    @block.compile
    def posterize(source, target, bits, size):
        mask = np.uint8((0xFF00 >> np.int32(bits)) & 0xFF)
        for i in range(lane(), size, lanes()):
            target[at(i)] = source[at(i)] & mask

    @block.compile
    def solarize(source, target, threshold, size):
        for i in range(lane(), size, lanes()):
            value = source[at(i)]
            target[at(i)] = value if np.float32(value) < threshold else np.uint8(255) - value

    @block.compile
    def inside(start, slope, limit, count):
        """The range of x in [0, count) for which 0 <= start + slope · x < limit."""
        if slope == 0:
            return (0, count) if 0 <= start < limit else (0, 0)
        if slope > 0:
            low, high = -(start // slope), -((start - limit) // slope)
        else:
            low, high = (start - limit) // -slope + 1, start // -slope + 1
        low = min(max(low, 0), count)
        return low, max(low, min(high, count))

    @block.compile
    def part(position):
        """The fraction of a fixed-point number as float32, in [0, 1)."""
        return np.float32(np.int32((position & MASK) >> 8)) * TO_FLOAT

    @block.compile
    def blend(source, target, top, bottom, left, right, place, part_x, part_y):
        """One value from four neighbours, cut off like Pillow's: rows that begin at top and bottom, columns left and right."""
        a, b = np.float32(source[at(top + left)]), np.float32(source[at(top + right)])
        c, d = np.float32(source[at(bottom + left)]), np.float32(source[at(bottom + right)])
        upper, under = between(a, b, part_x), between(c, d, part_x)
        target[at(place)] = np.uint8(np.int32(between(upper, under, part_y)))

    @block.compile
    def blend_two(source, target, first, second, place, part_):
        a, b = np.float32(source[at(first)]), np.float32(source[at(second)])
        target[at(place)] = np.uint8(np.int32(between(a, b, part_)))

    @block.compile
    def blacken(target, start, low, high, width):
        """All of a row outside [low, high)."""
        for x in range(column(), low, columns()):
            target[at(start + x)] = 0
        for x in range(high + column(), width, columns()):
            target[at(start + x)] = 0

    @block.compile
    def shear_rows(source, target, slope, offset, channels, height, width):
        """x' = x + slope · y + offset: every row moves by an amount of its own, the same for all of its pixels."""
        for r in range(row(), channels * height, rows()):
            y, start = r % height, r * width
            shift = slope * y + (slope >> 1) + offset
            whole, part_x = shift >> FRACTION_BITS, part(shift)
            middle = (shift + HALF) >> FRACTION_BITS
            low, high = min(max(0, -middle), width), max(0, min(width, width - middle))
            blacken(target, start, low, high, width)
            # Half a pixel at either end has a neighbour beyond the border, which repeats the border.
            first, last = min(max(low, -whole), high), max(min(high, width - 1 - whole), low)
            read = start + whole
            for x in range(first + column(), last, columns()):
                blend_two(source, target, read + x, read + x + 1, start + x, part_x)
            if column() == 0 and low < first:
                target[at(start + low)] = source[at(start)]
            if column() == 0 and max(last, first) < high:
                target[at(start + high - 1)] = source[at(start + width - 1)]

    @block.compile
    def shear_columns(source, target, slope, channels, height, width):
        """y' = y + slope · x: every column moves by an amount of its own."""
        pixels = height * width
        for y in range(row(), height, rows()):
            start = y * width
            position = (y << FRACTION_BITS) + (slope >> 1)
            low, high = inside(position + HALF, slope, height << FRACTION_BITS, width)
            for c in range(channels):
                blacken(target, c * pixels + start, low, high, width)
            for x in range(low + column(), high, columns()):
                source_y = position + slope * x
                part_y, whole = part(source_y), source_y >> FRACTION_BITS
                top, bottom = max(whole, 0) * width + x, min(whole + 1, height - 1) * width + x
                if channels == 3:
                    blend_two(source, target, top, bottom, start + x, part_y)
                    blend_two(source, target, top + pixels, bottom + pixels, start + x + pixels, part_y)
                    blend_two(source, target, top + 2 * pixels, bottom + 2 * pixels, start + x + 2 * pixels, part_y)
                else:
                    for plane in range(0, channels * pixels, pixels):
                        blend_two(source, target, top + plane, bottom + plane, start + x + plane, part_y)

    @block.compile
    def affine(source, target, words, channels, height, width):
        """Any affine map."""
        pixels = height * width
        slope_x, slope_y = words[0], words[3]
        for y in range(row(), height, rows()):
            start = y * width
            first_x = (slope_x >> 1) + words[1] * y + (words[1] >> 1) + words[2]
            first_y = (slope_y >> 1) + words[4] * y + (words[4] >> 1) + words[5]
            low_x, high_x = inside(first_x, slope_x, width << FRACTION_BITS, width)
            low_y, high_y = inside(first_y, slope_y, height << FRACTION_BITS, width)
            low = max(low_x, low_y)
            high = max(low, min(high_x, high_y))
            for c in range(channels):
                blacken(target, c * pixels + start, low, high, width)
            for x in range(low + column(), high, columns()):
                source_x, source_y = first_x + slope_x * x - HALF, first_y + slope_y * x - HALF
                part_x, part_y = part(source_x), part(source_y)
                whole_x, whole_y = source_x >> FRACTION_BITS, source_y >> FRACTION_BITS
                left, right = max(whole_x, 0), min(whole_x + 1, width - 1)
                top, bottom = max(whole_y, 0) * width, min(whole_y + 1, height - 1) * width
                if channels == 3:
                    blend(source, target, top, bottom, left, right, start + x, part_x, part_y)
                    top, bottom, place = top + pixels, bottom + pixels, start + x + pixels
                    blend(source, target, top, bottom, left, right, place, part_x, part_y)
                    blend(source, target, top + pixels, bottom + pixels, left, right, place + pixels, part_x, part_y)
                else:
                    for plane in range(0, channels * pixels, pixels):
                        blend(source, target, top + plane, bottom + plane, left, right, start + x + plane, part_x, part_y)

    @block.compile
    def step(op, args, words, source, target, table, counts, channels, height, width):
        pixels = height * width
        size = channels * pixels
        if op < 0:
            return False
        if op == AUTOCONTRAST:
            autocontrast(source, table, counts, channels, pixels)
            look_up(source, target, table, channels, pixels)
        elif op == EQUALIZE:
            equalize(source, table, counts, channels, pixels)
            look_up(source, target, table, channels, pixels)
        elif op == POSTERIZE:
            posterize(source, target, args[0], size)
        elif op == SOLARIZE:
            solarize(source, target, np.float32(int(args[0])), size)
        elif words[0] != ONE or words[4] != ONE:
            affine(source, target, words, channels, height, width)
        elif words[1] == 0 and words[3] == 0 and words[2] & MASK == 0 and words[5] & MASK == 0:
            if words[2] == 0 and words[5] == 0:
                return False
            move(source, target, words[5] >> FRACTION_BITS, words[2] >> FRACTION_BITS, False, channels, height, width)
        elif words[3] == 0 and words[5] == 0:
            shear_rows(source, target, words[1], words[2], channels, height, width)
        elif words[1] == 0 and words[2] == 0 and words[5] == 0:
            shear_columns(source, target, words[3], channels, height, width)
        else:
            affine(source, target, words, channels, height, width)
        return True

    return step
