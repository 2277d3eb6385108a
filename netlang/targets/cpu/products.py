"""Products of blocks as LLVM code: register tiles of rows by vectors of lanes.

All sums of a tile stay in registers while the summed loops run. How many there are follows from the machine: 28 of its
32 vector registers, or 12 of 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core.cgutils import for_range

from netlang.schedule.program import LANES
from netlang.targets.cpu.vectors import I64, Writer

SUMS_OF_FEW = 12  # vectors of sums at most that a tile of few rows has
BASES = (1, 3, 5, 7)  # multiples of the distance of rows that a tile has in registers
BYTE = ir.IntType(8).as_pointer()
LINE = 64  # bytes of a line of a cache
LEAST_AHEAD = 4  # rows of a tile that asks for lines of others ahead
PANELS_AHEAD = 2  # how far ahead the lanes are that it asks for, where they lie side by side


def multiply(w: Writer, symbol: str, panel: int) -> None:
    """`target[r * pitch + l] = sum left * right` for rows r < rows and lanes l up to the end of the last vector.

    Where the target is `far`, a tile asks for the lines that it will store in before it computes.

    The left factor is at `left + r * row`, each of the summed loops (a count and a step, outermost first) further;
    the right one lies in the panels that `pack` makes. Where `by` is not 0, it is a matrix: lanes side by side, with
    room for full vectors, each turn `by` further. The sum is added to the target where `start` is not 0. The rows are
    divided into tiles that are as equal as can be. Of few rows, a tile has the sums of several whole panels, where rows
    of the target have room for them: a sum waits four cycles for itself. Of a panel that is narrower than a vector, a
    vector has the lanes of several turns; the innermost step of the left factor is 1 then.

    With the first lanes, which read the left factor first, a tile asks for the lines of the next one: they come from
    memory while the products of this one are done. And it asks for the lanes of a panel behind the next one: where the
    right factor lies where it was, each turn's are on another page.
    """
    kinds = [w.pointer, I64, I64, I64, I64, w.pointer, I64, w.pointer, I64, I64, *[I64] * (2 * w.levels)]
    function, b = w.function(symbol, kinds, shown=True)
    target, pitch, far, start, rows, left, left_row, right, lanes, by, *steps = function.args
    is_far = b.icmp_signed("!=", far, I64(0))
    vectors = max(1, panel // LANES)
    highest = w.accumulators // (vectors if panel >= w.width else 2)  # a narrow tile is the longer code, row by row
    width = min(panel, vectors * w.width)
    turns = steps[0]
    for count in steps[2::2]:
        turns = b.mul(turns, count)
    is_packed = b.icmp_signed("==", by, I64(0))
    distance = b.select(is_packed, b.mul(turns, I64(panel)), I64(panel))
    by = b.select(is_packed, I64(panel), by)
    panels = w.rounded_up(b, lanes, I64(panel))
    is_full = b.or_(is_packed, b.icmp_signed("==", b.srem(lanes, I64(panel)), I64(0)))
    is_full = b.and_(is_full, b.icmp_signed(">=", pitch, b.mul(panels, I64(panel))))
    for height, together in _few(w, panel):
        few, many = b.append_basic_block("few"), b.append_basic_block("many")
        b.cbranch(b.and_(is_full, b.icmp_signed("==", rows, I64(height))), few, many)
        b.position_at_end(few)
        apart = [b.mul(left_row, I64(w.bytes * times)) for times in BASES]

        def some(first: Any, count: int, height: int = height, apart: list[Any] = apart) -> None:
            there, theirs = b.gep(target, [b.mul(first, I64(panel))]), b.gep(right, [b.mul(first, distance)])
            tile = _tile(w, height, panel // w.width, panel, count)
            b.call(tile, [there, pitch, start, left, *apart, I64(0), theirs, distance, by, *steps])

        _by_groups(b, panels, together, some)
        b.ret_void()
        b.position_at_end(many)
    tiles = w.rounded_up(b, rows, I64(highest))
    some = b.icmp_signed(">", tiles, I64(0))
    low = b.sdiv(rows, b.select(some, tiles, I64(1)))
    higher = b.sub(rows, b.mul(low, tiles))
    with for_range(b, panels) as p, for_range(b, I64(panel // width)) as part:
        within = b.mul(part.index, I64(width))
        skipped = b.add(b.mul(p.index, I64(panel)), within)
        left_over = b.sub(lanes, skipped)
        panel_target = b.gep(target, [skipped])
        panel_right = b.gep(right, [b.add(b.mul(p.index, distance), within)])
        row = w.variable(b, I64(0))
        apart = [b.mul(left_row, I64(w.bytes * times)) for times in BASES]

        def tiled(vectors: int) -> None:
            with for_range(b, tiles) as tile:
                height = b.add(low, b.zext(b.icmp_signed("<", tile.index, higher), I64))
                here = b.load(row)
                there = b.gep(panel_target, [b.mul(here, pitch)])
                with b.if_then(is_far), for_range(b, height) as r:
                    for lane in range(0, vectors * w.width, LINE // w.bytes):
                        w.prefetch(b, b.gep(there, [b.add(b.mul(r.index, pitch), I64(lane))]), to_write=True)
                arguments = [there, pitch, start]
                is_last = b.icmp_signed("==", b.add(here, height), rows)
                is_read = b.icmp_signed(">", skipped, I64(0))  # by the panels before
                ahead = b.select(b.or_(is_last, is_read), I64(0), b.mul(height, left_row))
                arguments += [b.gep(left, [b.mul(here, left_row)]), *apart, ahead, panel_right, distance, by, *steps]
                end = b.append_basic_block("end")
                choice = b.switch(height, end)
                for known in range(1, highest + 1):
                    with b.goto_block(case := b.append_basic_block(f"rows{known}")):
                        narrow = panel < w.width
                        b.call(_narrow(w, known, panel) if narrow else _tile(w, known, vectors, panel), arguments)
                        b.branch(end)
                    choice.add_case(I64(known), case)
                b.position_at_end(end)
                b.store(b.add(here, height), row)

        with b.if_then(b.icmp_signed(">", left_over, I64(0))):
            if vectors == 1:
                tiled(1)
            else:
                with b.if_else(b.icmp_signed(">", left_over, I64(w.width))) as (several, one):
                    for branch, count in ((several, vectors), (one, 1)):
                        with branch:
                            tiled(count)
    b.ret_void()


def _rows(w: Writer, b: Any, first: Any, apart: Sequence[Any], height: int) -> list[Any]:
    """Where the rows of a tile are, the first one at `first`; `apart` are the distances of `BASES`, in bytes.

    Each is at a multiple of them from an eighth row, which an address has at no cost. The optimizer would make a chain
    of additions of these, in which each row waits for the one before it.
    """
    places: list[Any] = []
    start = w.opaque(b, b.bitcast(first, BYTE))
    for r in range(height):
        if r and r % 8 == 0:
            start = b.gep(start, [b.shl(apart[0], I64(3))])
        shift = max(s for s in range(3) if r % 8 % 2**s == 0)
        distance = b.shl(apart[BASES.index(r % 8 >> shift)], I64(shift)) if r % 8 else I64(0)
        places.append(b.bitcast(b.gep(start, [distance]), w.pointer))
    return places


def _few(w: Writer, panel: int) -> list[tuple[int, int]]:
    """How many panels go into a tile of few rows, by the number of rows."""
    out = []
    for height in (1, 2, 3) if panel >= w.width else ():
        sums = height * (panel // w.width)
        together = next((n for n in (4, 2, 1) if sums * n <= min(SUMS_OF_FEW, w.accumulators)), 0)
        if together:
            out.append((height, together))
    return out


def _tile(w: Writer, height: int, vectors: int, panel: int, together: int = 1) -> Any:
    """The function of one tile: `height` rows by some vectors of lanes of each of some panels.

    The rows of the next tile are `ahead` of its own, or that is 0.
    """
    name = f"tile_{height}_{vectors}_{panel}_{together}_{w.levels}_{w.suffix}"
    if made := w.known(name):
        return made
    kinds = [w.pointer, I64, I64, w.pointer, *[I64] * len(BASES), I64, w.pointer, I64, I64, *[I64] * (2 * w.levels)]
    function, b = w.function(name, kinds)
    target, pitch, start, left, *rest = function.args
    apart, (ahead, right, distance, by, *steps) = rest[: len(BASES)], rest[len(BASES) :]
    *outer, count, step = steps
    sums = [[w.variable(b, w.zero) for _ in range(together * vectors)] for _ in range(height)]
    behind = [b.mul(distance, I64(n)) for n in range(1, together)]
    place = w.variable(b, right)

    def run(pointers: Any) -> None:
        """One run of the innermost loop."""
        here = w.variable(b, pointers[0])
        with for_range(b, count) as turn:
            left = b.load(here)
            b.store(b.gep(left, [step]), here)
            if height >= LEAST_AHEAD:
                w.prefetch(b, b.gep(left, [b.add(ahead, b.mul(b.and_(turn.index, within), aside))]))
            right = b.load(place)
            b.store(b.gep(right, [by]), place)
            for lane in range(0, vectors * w.width, LINE // w.bytes) if height >= LEAST_AHEAD else ():
                w.prefetch(b, b.gep(right, [I64(PANELS_AHEAD * panel + lane)]))
            beside = [right, *(b.gep(right, [each]) for each in behind)]
            lanes = [w.load(b, each, v) for each in beside for v in range(vectors)]
            for at, row in zip(_rows(w, b, left, apart, height), sums, strict=True):
                factor = w.spread(b, b.load(at))
                for v, each in enumerate(row):
                    b.store(w.fma(b, factor, lanes[v], b.load(each)), each)

    if height >= LEAST_AHEAD:
        # one line at every turn: that of all rows where these are neighbours, else of one row after another
        row = b.sdiv(apart[0], I64(w.bytes))
        beside, none = b.icmp_signed("==", row, I64(1)), b.icmp_signed("==", ahead, I64(0))
        ahead = b.add(ahead, b.select(beside, I64(height - 1), I64(0)))
        within = b.select(b.or_(beside, none), I64(0), I64(LINE // w.bytes - 1))
        aside = b.sub(row, step)
    w.summed(b, [left], outer, run)
    with b.if_else(b.icmp_signed("==", start, I64(0))) as (fresh, more):
        for branch, adds in ((fresh, False), (more, True)):
            with branch:
                for r, row in enumerate(sums):
                    there = b.gep(target, [b.mul(pitch, I64(r))])
                    for k, each in enumerate(row):
                        n, v = divmod(k, vectors)
                        at, value = b.gep(there, [I64(n * panel)]), b.load(each)
                        w.store(b, b.fadd(value, w.load(b, at, v)) if adds else value, at, v)
    b.ret_void()
    return function


def _narrow(w: Writer, height: int, panel: int) -> Any:
    """The function of one tile of a panel that is narrower than a vector: lanes of some turns are in a vector."""
    name = f"narrow_{height}_{panel}_{w.levels}_{w.suffix}"
    if made := w.known(name):
        return made
    kinds = [w.pointer, I64, I64, w.pointer, *[I64] * len(BASES), I64, w.pointer, I64, I64, *[I64] * (2 * w.levels)]
    function, b = w.function(name, kinds)
    target, pitch, start, left, *rest = function.args
    apart, (_, right, _, _, *steps) = rest[: len(BASES)], rest[len(BASES) :]
    *outer, count, _ = steps
    sums = [w.variable(b, w.zero) for _ in range(height)]
    place = w.variable(b, right)
    turns = w.width // panel
    together = [k // panel for k in range(w.width)]

    def update(left: Any, some: Any = None) -> None:
        """As many turns as fit into a vector, or `some`."""
        here = b.load(place)
        taken = I64(turns) if some is None else some
        lanes = w.load(b, here) if some is None else w.load_some(b, here, w.first(b, b.mul(some, I64(panel))))
        b.store(b.gep(here, [b.mul(taken, I64(panel))]), place)
        for at, each in zip(_rows(w, b, left, apart, height), sums, strict=True):
            factor = w.load_few(b, at, turns, some)
            b.store(w.fma(b, w.widened(b, factor, together), lanes, b.load(each)), each)

    def run(pointers: Any) -> None:
        """One run of the innermost loop."""
        (left,) = pointers
        whole = b.sdiv(count, I64(turns))
        with for_range(b, whole) as k:
            update(b.gep(left, [b.mul(k.index, I64(turns))]))
        done = b.mul(whole, I64(turns))
        with b.if_then(b.icmp_signed("<", done, count)):
            update(b.gep(left, [done]), b.sub(count, done))

    w.summed(b, [left], outer, run)
    lanes = w.first(b, I64(panel))
    with b.if_else(b.icmp_signed("==", start, I64(0))) as (fresh, more):
        for branch, adds in ((fresh, False), (more, True)):
            with branch:
                for r, each in enumerate(sums):
                    value, there = w.folded(b, b.load(each), panel), b.gep(target, [b.mul(pitch, I64(r))])
                    w.store_some(b, b.fadd(value, w.load_some(b, there, lanes)) if adds else value, there, lanes)
    b.ret_void()
    return function


def dot(w: Writer, symbol: str) -> None:
    """`target[r * pitch + l] = sum left * right` for few rows, both factors where they are.

    Lanes are `lane` apart in the right factor, which either is 1 or else the innermost step of both factors is. Each
    summed loop is a count, a step of the left and one of the right factor.
    """
    kinds = [w.pointer, I64, I64, w.pointer, I64, w.pointer, I64, I64, *[I64] * (3 * w.levels)]
    function, b = w.function(symbol, kinds, shown=True)
    target, pitch, rows, left, left_row, right, lane, lanes, *steps = function.args
    with b.if_else(b.icmp_signed("==", lane, I64(1))) as (beside, along):
        with beside:
            with for_range(b, rows) as r, for_range(b, lanes) as each:
                b.store(ir.Constant(w.real, 0.0), b.gep(target, [b.add(b.mul(r.index, pitch), each.index)]))
            *outer, count, left_step, right_step = steps

            def run(pointers: Any) -> None:
                """One run of the innermost loop."""
                arguments = [target, pitch, rows, pointers[0], left_row, pointers[1], lanes]
                b.call(_added_rows(w), [*arguments, count, left_step, right_step])

            w.summed(b, [left, right], outer, run)
        with along:

            def block(first: Any, outputs: int, r: Any, height: int) -> None:
                there = b.gep(target, [b.add(b.mul(r, pitch), first)])
                ours, theirs = b.gep(left, [b.mul(r, left_row)]), b.gep(right, [b.mul(first, lane)])
                b.call(_inner(w, height, outputs), [there, pitch, ours, left_row, theirs, lane, *steps])

            _by_groups(b, lanes, 4, lambda first, outputs: _by_height(b, rows, partial(block, first, outputs)))
    b.ret_void()


def _by_height(b: Any, rows: Any, body: Any) -> None:
    """The body for groups of 4 rows, and for what is left in one group."""
    with for_range(b, b.sdiv(rows, I64(4))) as group:
        body(b.mul(group.index, I64(4)), 4)
    rest = b.srem(rows, I64(4))
    for height in range(1, 4):
        with b.if_then(b.icmp_signed("==", rest, I64(height))):
            body(b.sub(rows, rest), height)


def _by_groups(b: Any, count: Any, most: int, body: Any) -> None:
    """The body for groups of `most`, and for what is left, of 1."""
    whole = b.sdiv(count, I64(most))
    with for_range(b, whole) as group:
        body(b.mul(group.index, I64(most)), most)
    done = b.mul(whole, I64(most))
    with for_range(b, b.sub(count, done)) as one:
        body(b.add(done, one.index), 1)


def _inner(w: Writer, height: int, outputs: int) -> Any:
    """`target[r, l] = sum left * right`: sums along the innermost loop, whose steps are 1, for some rows and lanes."""
    name = f"inner_{height}_{outputs}_{w.levels}_{w.suffix}"
    if made := w.known(name):
        return made
    function, b = w.function(name, [w.pointer, I64, w.pointer, I64, w.pointer, I64, *[I64] * (3 * w.levels)])
    target, pitch, left, left_row, right, lane, *steps = function.args
    *outer, count, _, _ = steps
    parts = max(1, min(4, (16 if w.accumulators > 16 else 8) // (height * outputs)))
    sums = [[[w.variable(b, w.zero) for _ in range(parts)] for _ in range(outputs)] for _ in range(height)]

    ours = [b.mul(left_row, I64(r)) for r in range(height)]
    theirs = [b.mul(lane, I64(o)) for o in range(outputs)]

    def update(left: Any, right: Any, number: int, mask: Any = None) -> None:
        """One vector of each row and each lane, into the sums `number`."""

        def load(pointer: Any, distance: Any) -> Any:
            at = b.gep(pointer, [distance])
            return w.load(b, at, number) if mask is None else w.load_some(b, at, mask)

        rights = [load(right, theirs[o]) for o in range(outputs)]
        for r in range(height):
            factor = load(left, ours[r])
            for o in range(outputs):
                place = sums[r][o][number]
                b.store(w.fma(b, factor, rights[o], b.load(place)), place)

    def run(pointers: Any) -> None:
        """One run of the innermost loop."""
        left, right = pointers
        length = I64(parts * w.width)
        whole = b.sdiv(count, length)
        with for_range(b, whole) as k:
            at = [b.mul(k.index, length)]
            for number in range(parts):
                update(b.gep(left, at), b.gep(right, at), number)
        done = b.mul(whole, length)
        with for_range(b, w.rounded_up(b, b.sub(count, done), I64(w.width))) as k:
            at = b.add(done, b.mul(k.index, I64(w.width)))
            update(b.gep(left, [at]), b.gep(right, [at]), 0, w.first(b, b.sub(count, at)))

    w.summed(b, [left, right], outer, run)
    for r in range(height):
        for o in range(outputs):
            value = b.load(sums[r][o][0])
            for other in sums[r][o][1:]:
                value = b.fadd(value, b.load(other))
            b.store(w.total(b, value), b.gep(target, [b.add(b.mul(pitch, I64(r)), I64(o))]))
    b.ret_void()
    return function


def _added_rows(w: Writer) -> Any:
    """`target[r, l] += sum left * right`: rows of the right factor, lanes side by side, added some at a time."""
    name = f"added_rows_{w.suffix}"
    if made := w.known(name):
        return made
    function, b = w.function(name, [w.pointer, I64, I64, w.pointer, I64, w.pointer, I64, I64, I64, I64])
    target, pitch, rows, left, left_row, right, lanes, count, left_step, right_step = function.args

    def some(first: Any, size: int) -> None:
        """So many turns of the sum."""
        here_left, here_right = b.gep(left, [b.mul(first, left_step)]), b.gep(right, [b.mul(first, right_step)])

        def block(r: Any, height: int) -> None:
            arguments = [b.gep(target, [b.mul(r, pitch)]), pitch, b.gep(here_left, [b.mul(r, left_row)]), left_row]
            b.call(_added(w, height, size), [*arguments, here_right, lanes, left_step, right_step])

        _by_height(b, rows, block)

    _by_groups(b, count, 8, some)
    b.ret_void()
    return function


def _added(w: Writer, height: int, size: int) -> Any:
    """`target[r, l] += sum left * right` over `size` turns, for some rows and all lanes."""
    name = f"added_{height}_{size}_{w.suffix}"
    if made := w.known(name):
        return made
    function, b = w.function(name, [w.pointer, I64, w.pointer, I64, w.pointer, I64, I64, I64])
    target, pitch, left, left_row, right, lanes, left_step, right_step = function.args
    factors = [
        [
            w.spread(b, b.load(b.gep(left, [b.add(b.mul(left_row, I64(r)), b.mul(left_step, I64(k)))])))
            for k in range(size)
        ]
        for r in range(height)
    ]

    def update(first: Any, mask: Any = None) -> None:
        """One vector of lanes."""

        def at(pointer: Any, distance: Any) -> Any:
            return b.gep(pointer, [b.add(first, distance)])

        places = [at(target, b.mul(pitch, I64(r))) for r in range(height)]
        sums = [w.load(b, p) if mask is None else w.load_some(b, p, mask) for p in places]
        for k in range(size):
            place = at(right, b.mul(right_step, I64(k)))
            lane = w.load(b, place) if mask is None else w.load_some(b, place, mask)
            sums = [w.fma(b, factors[r][k], lane, each) for r, each in enumerate(sums)]
        for each, place in zip(sums, places, strict=True):
            if mask is None:
                w.store(b, each, place)
            else:
                w.store_some(b, each, place, mask)

    whole = b.sdiv(lanes, I64(w.width))
    with for_range(b, whole) as v:
        update(b.mul(v.index, I64(w.width)))
    done = b.mul(whole, I64(w.width))
    with b.if_then(b.icmp_signed("<", done, lanes)):
        update(done, w.first(b, b.sub(lanes, done)))
    b.ret_void()
    return function
