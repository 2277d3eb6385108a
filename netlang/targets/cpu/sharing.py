"""How threads share the work of a run, as LLVM code: who takes which part, and when all of a statement is done.

Every thread goes through the same statements `Share` and `Alone`, and counts them: the *phase*. In each there are some
parts for every thread, side by side, or, where there is little to do, one. A thread takes its own parts in order, then
the last one of those that nobody has taken yet; when none is left, it waits until those that were taken are done. So
one that is slower does less; and one that the system does not let run holds up nobody: the others take its parts, and
it passes over all phases that are behind.

What has been taken is one word that all threads change: the latest phase, and a bit for each of its parts. What is done
is counted through all phases. Neither is ever set back, so threads that are late in a run that is over stay harmless.
How many parts a phase has is no secret between threads: each finds the same number of units from the sizes.
"""

from __future__ import annotations

from netlang.targets.cpu.optimize import Machine

PART, COUNT, PARTS, EACH, PHASE, HELD, OWN, SHARED = TEAM = (
    "thread.part",  # that it has taken
    "thread.count",  # of how many that is
    "thread.parts",  # of each phase, at most
    "thread.each",  # as many of these for every thread
    "thread.phase",  # that it is in
    "thread.held",  # how many parts it has taken and not done
    "thread.own",  # its number: which parts it takes first
    "thread.shared",  # the address of the word and the count
)
"""What a thread's table of numbers begins with."""

MOST = 16  # threads, and parts: a bit of the word for each
SEVERAL = 4  # parts for a thread
APART = 16  # numbers from the word to the count: a pair of cache lines
SPINS = 4096  # looks before a thread gives its processor away


def module(text: str, machine: Machine) -> str:
    """The text of an LLVM module that defines `another` and `alone`, where the module `text` calls them; else ""."""
    wanted = [name for name in ("another", "alone") if f'@"nl_{name}"' in text]
    if not wanted:
        return ""
    return "\n".join([waiting(machine), *(_taking(name) for name in wanted)])


def _taking(name: str) -> str:
    """Whether there is another part to take, or all parts as one; what was taken before is done."""
    slot = {slot: k for k, slot in enumerate(TEAM)}
    names = {"part": PART, "count": COUNT, "parts": PARTS, "each": EACH, "phase": PHASE, "held": HELD, "own": OWN}
    at = "\n".join(
        f"  %{n}.at = getelementptr i64, ptr %team, i64 {slot[s]}" for n, s in (*names.items(), ("to", SHARED))
    )
    choice = {
        "another": """
  %few = icmp slt i64 %units, %parts
  %width = select i1 %few, i64 %each, i64 1
  %free = xor i64 %mask, %full
  %own = load i64, ptr %own.at
  %begin = mul i64 %own, %each
  %from.begin = lshr i64 %free, %begin
  %each.power = shl i64 1, %each
  %each.full = sub i64 %each.power, 1
  %mine = and i64 %from.begin, %each.full
  %is.mine = icmp ne i64 %mine, 0
  %next.mine = call i64 @llvm.cttz.i64(i64 %mine, i1 false)
  %first.mine = add i64 %begin, %next.mine
  %zeros = call i64 @llvm.ctlz.i64(i64 %free, i1 false)
  %last = sub i64 63, %zeros
  %bit = select i1 %is.mine, i64 %first.mine, i64 %last
  %taken = udiv i64 %bit, %width
  %low = mul i64 %taken, %width
  %power.of.width = shl i64 1, %width
  %ones = sub i64 %power.of.width, 1
  %bits.taken = shl i64 %ones, %low
  %after = or i64 %mask, %bits.taken
  %holds = add i64 0, %width
  %counted = udiv i64 %parts, %width""",
        "alone": """
  %taken = add i64 0, 0
  %after = add i64 %full, 0
  %holds = add i64 %parts, 0
  %counted = add i64 1, 0""",
    }[name]
    declared = ("declare i64 @llvm.cttz.i64(i64, i1)", "declare i64 @llvm.ctlz.i64(i64, i1)")
    return f"""
{chr(10).join(declared) if name == "another" else ""}

define i1 @"nl_{name}"(ptr %team{", i64 %units" if name == "another" else ""}) noinline {{
entry:
{at}
  %parts = load i64, ptr %parts.at
  %each = load i64, ptr %each.at
  %held = load i64, ptr %held.at
  %has = icmp ne i64 %held, 0
  %single = icmp eq i64 %parts, 1
  br i1 %single, label %only, label %together
only:
  %turn = xor i1 %has, true
  %turns = zext i1 %turn to i64
  store i64 %turns, ptr %held.at
  store i64 0, ptr %part.at
  store i64 1, ptr %count.at
  ret i1 %turn
together:
  %shared = load ptr, ptr %to.at
  %done.at = getelementptr i64, ptr %shared, i64 {APART}
  %phase = load i64, ptr %phase.at
  %power = shl i64 1, %parts
  %full = sub i64 %power, 1
  br i1 %has, label %finish, label %look
finish:
  %old = atomicrmw add ptr %done.at, i64 %held seq_cst
  store i64 0, ptr %held.at
  br label %look
look:
  %word = load atomic i64, ptr %shared seq_cst, align 8
  %latest = lshr i64 %word, {MOST}
  %behind = icmp ugt i64 %latest, %phase
  br i1 %behind, label %over, label %free.or.not
free.or.not:
  %current = icmp eq i64 %latest, %phase
  %bits = and i64 %word, {2**MOST - 1}
  %mask = select i1 %current, i64 %bits, i64 0
  %none = icmp eq i64 %mask, %full
  br i1 %none, label %wait, label %take
take:{choice}
  %phase.bits = shl i64 %phase, {MOST}
  %new = or i64 %phase.bits, %after
  %swap = cmpxchg ptr %shared, i64 %word, i64 %new seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %have, label %look
have:
  store i64 %taken, ptr %part.at
  store i64 %counted, ptr %count.at
  store i64 %holds, ptr %held.at
  ret i1 true
wait:
  %next = add i64 %phase, 1
  %all = mul i64 %next, %parts
  br label %done.or.not
done.or.not:
  %looks = phi i64 [ 0, %wait ], [ %more, %again ]
  %more = add i64 %looks, 1
  %done = load atomic i64, ptr %done.at seq_cst, align 8
  %missing = icmp ult i64 %done, %all
  br i1 %missing, label %again, label %over
again:
  call void @nl_look_again(i64 %looks)
  br label %done.or.not
over:
  %following = add i64 %phase, 1
  store i64 %following, ptr %phase.at
  ret i1 false
}}
"""


def waiting(machine: Machine) -> str:
    """The text of `nl_look_again`, which is called between two looks."""
    is_intel = machine.triple.startswith("x86_64")
    pause = "call void @llvm.x86.sse2.pause()" if is_intel else ""
    declared = "declare void @llvm.x86.sse2.pause()" if is_intel else ""
    gives_way = "windows" not in machine.triple
    return f"""
{declared}
{"declare i32 @sched_yield()" if gives_way else ""}

define internal void @nl_look_again(i64 %looks) {{
entry:
  %patient = icmp slt i64 %looks, {SPINS}
  br i1 %patient, label %wait, label %yield
wait:
  {pause}
  ret void
yield:
  {"%ignored = call i32 @sched_yield()" if gives_way else pause}
  ret void
}}
"""
